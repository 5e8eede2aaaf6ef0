// The AWS Lambda function that tests host, in JavaScript. src/main.rs says what it does.

const BREAKS = "U-BREAKS";

class ItemError extends Error {
  constructor(name, message) {
    super(message);
    this.name = name;
  }
}

class DatabaseError extends Error {
  constructor(message) {
    super(message);
    this.name = "DatabaseError";
  }
}

export const handler = async (event, context) => {
  const own = event.items !== undefined;
  const items = own ? event.items : event.Items;
  console.log(`${items.length} items for ${context.awsRequestId}`);
  const results = [];
  const failures = [];
  items.forEach((item, position) => {
    try {
      results.push(processItem(item));
    } catch (error) {
      if (!(error instanceof ItemError)) {
        throw error;
      }
      if (own) {
        results.push(null);
        const itemIdentifier = event.batch.indexes[position];
        failures.push({ itemIdentifier, errorType: error.name, errorMessage: error.message });
      } else {
        failures.push({ item, errorType: error.name, error: error.message });
      }
    }
  });
  if (own) {
    return { results, batchItemFailures: failures };
  }
  return {
    batchId: event.BatchInput?.batchId ?? null,
    processedCount: results.length,
    errorCount: failures.length,
    results,
    errors: failures,
  };
};

function processItem(item) {
  const user = item["ユーザーID"];
  if (user === BREAKS) {
    throw new DatabaseError("the user database does not answer");
  }
  if (user === "") {
    throw new ItemError("ValidationError", "ユーザーID is empty");
  }
  return {
    userId: user,
    loginCount: count(item, "ログイン回数"),
    postCount: count(item, "投稿回数"),
    status: "SUCCESS",
  };
}

function count(item, field) {
  const text = item[field];
  if (!/^[0-9]+$/.test(text)) {
    throw new ItemError("ValueError", `${field} is no count: ${text}`);
  }
  return Number(text);
}
