"""The AWS Lambda function that tests host, in Python. src/main.rs says what it does."""

import logging

logger = logging.getLogger()
logger.setLevel(logging.INFO)

BREAKS = "U-BREAKS"


class ValidationError(Exception):
    pass


class DatabaseError(Exception):
    pass


def lambda_handler(event, context):
    own = "items" in event
    items = event["items"] if own else event["Items"]
    logger.info("%d items for %s", len(items), context.aws_request_id)
    results = []
    failures = []
    for position, item in enumerate(items):
        try:
            results.append(process_item(item))
        except (ValidationError, ValueError) as error:
            error_type = type(error).__name__
            if own:
                results.append(None)
                index = event["batch"]["indexes"][position]
                failures.append({"itemIdentifier": index, "errorType": error_type, "errorMessage": str(error)})
            else:
                failures.append({"item": item, "errorType": error_type, "error": str(error)})
    if own:
        return {"results": results, "batchItemFailures": failures}
    return {
        "batchId": event.get("BatchInput", {}).get("batchId"),
        "processedCount": len(results),
        "errorCount": len(failures),
        "results": results,
        "errors": failures,
    }


def process_item(item):
    user = item["ユーザーID"]
    if user == BREAKS:
        raise DatabaseError("the user database does not answer")
    if not user:
        raise ValidationError("ユーザーID is empty")
    return {
        "userId": user,
        "loginCount": count(item, "ログイン回数"),
        "postCount": count(item, "投稿回数"),
        "status": "SUCCESS",
    }


def count(item, field):
    text = item[field]
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{field} is no count: {text}")
    return int(text)
