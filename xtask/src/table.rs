//! A plain table for the terminal.

/// Prints rows under a header, columns as wide as needed. The first column is aligned left, the others right.
pub(crate) fn print(header: &[&str], rows: &[Vec<String>]) {
    for line in lines(header, rows) {
        println!("{line}");
    }
}

fn lines(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let header: Vec<String> = header.iter().map(|&title| title.to_owned()).collect();
    let mut widths = vec![0; header.len()];
    for row in rows.iter().chain([&header]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rule = widths
        .iter()
        .map(|&width| "-".repeat(width))
        .collect::<Vec<_>>()
        .join("  ");
    [line(&header), rule]
        .into_iter()
        .chain(rows.iter().map(line))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![
            vec!["unit".to_owned(), "120".to_owned()],
            vec!["a".to_owned(), "1".to_owned()],
        ];
        assert_eq!(
            lines(&["tier", "n"], &rows),
            ["tier    n", "----  ---", "unit  120", "a       1"]
        );
    }
}
