//! A table in GitHub's Markdown: the best of a column is bold.

use super::Table;

impl Table {
    /// Title as bold text, the table, and the notes as a list, ending in a line break.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("**{}**\n\n", escape(&self.title));
        text += &line(self.header.iter().map(|name| escape(name)));
        text +=
            &line((0..self.header.len()).map(|column| if column == 0 { ":--" } else { "--:" }.to_owned()));
        for row in &self.rows {
            let cells = row.cells.iter().map(|cell| {
                if cell.best { format!("**{}**", escape(&cell.text)) } else { escape(&cell.text) }
            });
            text += &line(std::iter::once(escape(&row.name)).chain(cells));
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            text += &format!("- {}\n", escape(note));
        }
        text
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// What would end a cell or be read as markup gets a backslash; a line break becomes a blank.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '|' | '*' | '_' | '`' | '<' | '[' | ']' | '\\' => escaped.extend(['\\', character]),
            '\n' | '\r' => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::Cell;
    use super::*;

    #[test]
    fn the_best_is_bold_and_markup_in_names_stays_text() {
        let mut table = Table::new("Accuracy", ["Method", "a|b"]);
        table.push("x_y", vec![Cell { text: "60.00".into(), value: Some(60.0), best: false }]);
        table.push("z", vec![Cell::missing()]);
        table.notes.push("One <seed>.".into());
        assert_eq!(
            table.mark_best().to_markdown(),
            "**Accuracy**\n\n| Method | a\\|b |\n| :-- | --: |\n\
             | x\\_y | **60.00** |\n| z | – |\n\n- One \\<seed>.\n"
        );
    }
}
