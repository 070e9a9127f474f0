//! A table in LaTeX, for the packages `booktabs` and nothing else: the best of a column is bold.

use super::Table;

impl Table {
    /// A `table` environment with the title as its caption, ending in a line break.
    pub fn to_latex(&self) -> String {
        let columns = "r".repeat(self.header.len().saturating_sub(1));
        let mut text = format!("\\begin{{table}}\n  \\caption{{{}}}\n", escape(&self.title));
        text += &format!("  \\begin{{tabular}}{{l{columns}}}\n    \\toprule\n");
        text += &line(self.header.iter().map(|name| escape(name)));
        text += "    \\midrule\n";
        for row in &self.rows {
            let cells = row.cells.iter().map(|cell| {
                let shown = escape(&cell.text);
                if cell.best { format!("\\textbf{{{shown}}}") } else { shown }
            });
            text += &line(std::iter::once(escape(&row.name)).chain(cells));
        }
        text += "    \\bottomrule\n  \\end{tabular}\n";
        for note in &self.notes {
            text += &format!("  \\par {}\n", escape(note));
        }
        text + "\\end{table}\n"
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("    {} \\\\\n", cells.collect::<Vec<_>>().join(" & "))
}

/// What LaTeX would read as a command is written as itself.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', character]),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '±' => escaped.push_str("$\\pm$"),
            '−' => escaped.push_str("$-$"),
            '–' => escaped.push_str("--"),
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
    fn the_best_is_bold_and_commands_in_names_stay_text() {
        let mut table = Table::new("Accuracy (%)", ["Method", "a_b"]);
        table.push("CoOp & more", vec![Cell { text: "60.00 ± 1.00".into(), value: Some(60.0), best: false }]);
        table.push("z", vec![Cell::missing()]);
        assert_eq!(
            table.mark_best().to_latex(),
            "\\begin{table}\n  \\caption{Accuracy (\\%)}\n  \\begin{tabular}{lr}\n    \\toprule\n    \
             Method & a\\_b \\\\\n    \\midrule\n    CoOp \\& more & \\textbf{60.00 $\\pm$ 1.00} \\\\\n    \
             z & -- \\\\\n    \\bottomrule\n  \\end{tabular}\n\\end{table}\n"
        );
    }
}
