//! PostgreSQL's way to find the rows that it refuses: a function of the connection's own (`pg_temp`) cuts them in halves, each
//! under a savepoint, in one call. From here every step would cost three round trips.

use super::{Place, write_arrays};
use crate::handler::sql::catalogue::Catalogue;
use crate::handler::sql::dialect::Dialect;
use crate::handler::sql::plan::{PlannedColumn, Target, WriteMode};

/// PostgreSQL's bound on the parameters of a function.
const MAX_PARAMETERS: usize = 100;

const NAME: &str = "pg_temp.warifu_write_in_halves";

/// Makes the function. `None`: these rows need another way.
///
/// It gives place (from 1), SQLSTATE, message, column, constraint and detail of each refused row. Errors that are not of the
/// row's values end it, and the transaction.
pub(in crate::handler::sql) fn row_function(
    catalogue: &Catalogue,
    target: &Target,
    columns: &[PlannedColumn],
) -> Option<String> {
    if catalogue.dialect != Dialect::Postgres
        || matches!(target.mode, WriteMode::Statement { .. })
        || columns.len() > MAX_PARAMETERS
    {
        return None;
    }
    let parameters = vec!["text[]"; columns.len()].join(",");
    let write = write_arrays(catalogue, target, columns, Place { slice: "[first:last]", ..Place::ALONE });
    Some(format!(
        "CREATE OR REPLACE FUNCTION {NAME}({parameters}) \
         RETURNS TABLE (place text, state text, said text, of_column text, of_constraint text, detail text) \
         LANGUAGE plpgsql AS $function$\n#variable_conflict use_column\n\
         DECLARE firsts int[] := ARRAY[1]; lasts int[] := ARRAY[cardinality($1)]; top int := 1; first int; last int; \
         BEGIN WHILE top > 0 LOOP first := firsts[top]; last := lasts[top]; top := top - 1; BEGIN {write}; \
         EXCEPTION WHEN data_exception OR integrity_constraint_violation OR cardinality_violation THEN \
         IF first < last THEN \
         firsts[top + 1] := (first + last) / 2 + 1; lasts[top + 1] := last; \
         firsts[top + 2] := first; lasts[top + 2] := (first + last) / 2; top := top + 2; \
         ELSE GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, of_column = COLUMN_NAME, of_constraint = CONSTRAINT_NAME, \
         detail = PG_EXCEPTION_DETAIL; place := first; state := SQLSTATE; RETURN NEXT; END IF; \
         END; END LOOP; END $function$"
    ))
}

/// Calls it with an array for each column.
pub(in crate::handler::sql) fn call_row_function(columns: usize) -> String {
    let arrays: Vec<String> = (1..=columns).map(|n| format!("${n}::text[]")).collect();
    format!("SELECT * FROM {NAME}({})", arrays.join(","))
}
