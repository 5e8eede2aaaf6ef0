//! The texts, where their form matters. That databases take them is tested against the databases.

use warifu_common::config::handlers::{OnConflict, SqlType};

use super::*;

fn column(dialect: Dialect, name: &str, on_conflict: OnConflict) -> PlannedColumn {
    let mut column = PlannedColumn::by_name(dialect, name, SqlType::Text);
    column.on_conflict = on_conflict;
    column
}

fn target(mode: WriteMode) -> Target {
    Target { table: "s.t".to_owned(), mode, guard: None }
}

fn three(dialect: Dialect) -> [PlannedColumn; 3] {
    [
        column(dialect, "id", OnConflict::Replace),
        column(dialect, "a\"`b", OnConflict::Add),
        column(dialect, "c", OnConflict::Keep),
    ]
}

fn upsert() -> WriteMode {
    WriteMode::Upsert { key: vec!["id".into()] }
}

#[test]
fn statements_quote_names_and_bind_values() {
    let columns = three(Dialect::Sqlite);
    let write = |mode| write_values(Dialect::Sqlite, &target(mode), &columns, 2);
    let insert = r#"INSERT INTO "s"."t" AS target ("id","a""`b","c") VALUES (?,?,?),(?,?,?)"#;
    assert_eq!(write(WriteMode::Insert), insert);
    assert_eq!(write(WriteMode::InsertIgnore), format!("{insert} ON CONFLICT DO NOTHING"));
    let sum = r#""a""`b" = coalesce(target."a""`b" + excluded."a""`b", target."a""`b", excluded."a""`b")"#;
    assert_eq!(write(upsert()), format!(r#"{insert} ON CONFLICT ("id") DO UPDATE SET {sum}"#));
    let key_only = write_values(Dialect::Sqlite, &target(upsert()), &columns[..1], 1);
    assert!(key_only.ends_with(r#"ON CONFLICT ("id") DO NOTHING"#), "{key_only}");
    let columns = three(Dialect::MySql);
    let mysql = write_values(Dialect::MySql, &target(upsert()), &columns, 1);
    assert_eq!(
        mysql,
        "INSERT INTO `s`.`t` (`id`,`a\"``b`,`c`) VALUES (?,?,?) ON DUPLICATE KEY UPDATE \
         `a\"``b` = coalesce(`a\"``b` + VALUES(`a\"``b`), `a\"``b`, VALUES(`a\"``b`))"
    );
}

#[test]
fn an_update_binds_each_column_where_it_stands() {
    let update = |dialect, guard: Option<&str>| {
        let columns = [
            column(dialect, "a", OnConflict::Replace),
            column(dialect, "id", OnConflict::Replace),
            column(dialect, "seen", OnConflict::Replace),
        ];
        let mode = WriteMode::Update { key: vec!["id".into()] };
        let target = Target { table: "t".into(), mode, guard: guard.map(str::to_owned) };
        (write_values(dialect, &target, &columns, 1), update_order(&target, &columns))
    };
    assert_eq!(update(Dialect::Sqlite, None).0, r#"UPDATE "t" SET "a" = ?1,"seen" = ?3 WHERE "id" = ?2"#);
    let (sql, order) = update(Dialect::MySql, Some("seen"));
    assert_eq!(sql, "UPDATE `t` SET `a` = ?,`seen` = ? WHERE `id` = ? AND coalesce(`seen` <= ?, true)");
    assert_eq!(order, [0, 2, 1, 2]);
}

#[test]
fn the_relation_batch_stands_before_the_users_own() {
    let with = |sql| with_batch(sql, "batch AS (…)");
    assert_eq!(with(" INSERT INTO t"), "WITH batch AS (…) INSERT INTO t");
    assert_eq!(with("with x AS (SELECT 1) DELETE"), "WITH batch AS (…), x AS (SELECT 1) DELETE");
    assert_eq!(with("WITH\nRECURSIVE x AS (y) z"), "WITH RECURSIVE batch AS (…), x AS (y) z");
    assert_eq!(with("withdraw"), "WITH batch AS (…) withdraw");
}

#[test]
fn a_statement_never_binds_more_than_its_database_takes() {
    for dialect in [Dialect::Sqlite, Dialect::MySql] {
        for columns in [1, 3, 100, 2000, 32_766] {
            assert!(rows_per_statement(dialect, columns) * columns <= dialect.max_bound_values());
        }
    }
}
