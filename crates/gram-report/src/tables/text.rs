//! A table for the terminal: columns aligned by blanks, the best of a column marked with a star.

use super::{Cell, Table};

/// Blanks between two columns.
const GAP: &str = "  ";

impl Table {
    /// Title, header, rows and notes as lines of text, ending in a line break.
    pub fn to_text(&self) -> String {
        let lines = self.lines();
        let widths = widths(&lines);
        let mut text = format!("{}\n\n", self.title);
        for (number, line) in lines.iter().enumerate() {
            text += &aligned(line, &widths);
            if number == 0 {
                text +=
                    &"-".repeat(widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1));
                text.push('\n');
            }
        }
        let star = self.has_best().then(|| "* the best of its column".to_owned());
        let notes: Vec<String> = star.into_iter().chain(self.notes.iter().cloned()).collect();
        if !notes.is_empty() {
            text += &format!("\n{}\n", notes.join("\n"));
        }
        text
    }

    /// Header and rows as they are written, before alignment.
    fn lines(&self) -> Vec<Vec<String>> {
        let starred = self.has_best();
        let header = self
            .header
            .iter()
            .enumerate()
            .map(|(column, name)| if starred && column > 0 { format!("{name}  ") } else { name.clone() });
        let rows = self.rows.iter().map(|row| {
            let cells = row.cells.iter().map(|cell| cell_text(cell, starred));
            let name = if row.below { format!("{GAP}{}", row.name) } else { row.name.clone() };
            std::iter::once(name).chain(cells).collect()
        });
        std::iter::once(header.collect()).chain(rows).collect()
    }
}

/// Where one cell of a table has a star, every cell has room for it, so that digits stay below digits.
fn cell_text(cell: &Cell, starred: bool) -> String {
    match (starred, cell.best) {
        (false, _) => cell.text.clone(),
        (true, false) => format!("{}  ", cell.text),
        (true, true) => format!("{} *", cell.text),
    }
}

fn widths(lines: &[Vec<String>]) -> Vec<usize> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    (0..columns).map(width).collect()
}

/// Names to the left, numbers to the right, nothing behind the last.
fn aligned(line: &[String], widths: &[usize]) -> String {
    let cells: Vec<String> = line
        .iter()
        .zip(widths)
        .enumerate()
        .map(
            |(column, (cell, width))| {
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            },
        )
        .collect();
    format!("{}\n", cells.join(GAP).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters_not_bytes() {
        let mut table = Table::new("Accuracy (%)", ["Method", "Base", "New"]);
        let cell = |text: &str, value| Cell { text: text.into(), value, best: false };
        table.push("CLIP", vec![cell("55.00", Some(55.0)), Cell::missing()]);
        table.push("CoOp + GRAM", vec![cell("100.00 ± 2.50", Some(100.0)), cell("60.00", Some(60.0))]);
        table.notes.push("Two seeds.".into());
        let expected = "\
Accuracy (%)

Method                Base      New
-------------------------------------
CLIP                 55.00        –
CoOp + GRAM  100.00 ± 2.50 *  60.00 *

* the best of its column
Two seeds.
";
        assert_eq!(table.mark_best().to_text(), expected);
    }

    #[test]
    fn without_a_best_there_is_no_star_and_no_room_for_one() {
        let mut table = Table::new("Times", ["Stage", "Time"]);
        table.push("all", vec![Cell::plain("3 s")]);
        assert_eq!(table.to_text(), "Times\n\nStage  Time\n-----------\nall     3 s\n");
    }
}
