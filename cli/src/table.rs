//! Columns of text, aligned with spaces: readable for people, and still cut by `awk`.

const COLUMN_GAP: &str = "  ";

/// Rows under a header. The last column is never padded, so long texts belong there.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with the names of its columns.
    pub(crate) fn new<const COLUMNS: usize>(header: [&str; COLUMNS]) -> Self {
        Self { rows: vec![header.map(str::to_owned).to_vec()] }
    }

    /// Adds a row; an empty cell shows as `-`.
    pub(crate) fn row<const COLUMNS: usize>(&mut self, cells: [String; COLUMNS]) {
        debug_assert_eq!(COLUMNS, self.rows[0].len(), "a row has as many cells as the header");
        self.rows.push(cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }).to_vec());
    }

    /// The whole table as text, each line ended.
    pub(crate) fn render(&self) -> String {
        let widths = self.widths();
        self.rows.iter().map(|row| render_row(row, &widths)).collect()
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows[0].len();
        (0..columns)
            .map(|column| self.rows.iter().map(|row| width(&row[column])).max().unwrap_or(0))
            .collect()
    }
}

fn render_row(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (column, cell) in row.iter().enumerate() {
        line.push_str(cell);
        if column + 1 < row.len() {
            line.extend(std::iter::repeat_n(' ', widths[column] - width(cell)));
            line.push_str(COLUMN_GAP);
        }
    }
    line.push('\n');
    line
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_one_is_not_padded() {
        let mut table = Table::new(["NAME", "ITEMS", "CAUSE"]);
        table.row(["run-1".into(), "20,000".into(), "".into()]);
        table.row(["a-longer-name".into(), "3".into(), "too many failed".into()]);
        assert_eq!(
            table.render(),
            "NAME           ITEMS   CAUSE\n\
             run-1          20,000  -\n\
             a-longer-name  3       too many failed\n"
        );
    }
}
