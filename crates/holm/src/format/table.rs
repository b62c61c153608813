//! Tables: columns as wide as their widest cell, in docker's spacing.

use crate::error::printable;

/// Least width of a column, the gap included.
const COLUMN_MIN: usize = 10;
/// Spaces between columns.
const GAP: usize = 3;
/// No column is cut below this.
const CUT_MIN: usize = 12;

/// The lines of a table. Cells are made safe for a terminal. With `width`, the widest columns are cut until lines fit.
pub fn render(rows: &[Vec<String>], width: Option<usize>) -> String {
    let mut rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell.trim_end_matches('\n'))).collect()).collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..count)
        .map(|n| rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    if let Some(width) = width {
        cut(&mut rows, &mut widths, width);
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (n, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if n + 1 < row.len() {
                let full = (widths[n] + GAP).max(COLUMN_MIN);
                line.extend(std::iter::repeat_n(' ', full - cell.chars().count()));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn cut(rows: &mut [Vec<String>], widths: &mut [usize], width: usize) {
    let total = |widths: &[usize]| {
        widths
            .iter()
            .enumerate()
            .map(|(n, w)| if n + 1 < widths.len() { (w + GAP).max(COLUMN_MIN) } else { *w })
            .sum::<usize>()
    };
    while total(widths) > width {
        let Some(widest) = widths.iter_mut().filter(|w| **w > CUT_MIN).max() else { break };
        *widest -= 1;
    }
    for row in rows {
        for (cell, width) in row.iter_mut().zip(widths.iter()) {
            *cell = shortened(cell, *width);
        }
    }
}

/// `text` with at most `width` characters, the last one an ellipsis where something was cut.
pub fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn columns_are_aligned_as_dockers() {
        let table = rows(&[&["ID", "NAMES"], &["0123456789ab", "web"]]);
        assert_eq!(render(&table, None), "ID             NAMES\n0123456789ab   web\n");
        assert_eq!(render(&rows(&[&["A", "B", ""]]), None), "A         B\n");
    }

    #[test]
    fn wide_cells_are_cut_to_the_terminal_and_escaped() {
        let table = rows(&[&["a".repeat(60).as_str(), "short"], &["\x1b[2J", "x"]]);
        let text = render(&table, Some(40));
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(text.contains('…') && text.contains("short") && !text.contains('\x1b'));
        assert_eq!(shortened("abc", 3), "abc");
        assert_eq!(shortened("abcd", 3), "ab…");
    }
}
