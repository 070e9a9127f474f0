//! A table in HTML: a caption, scoped header cells, the best of a column strong.

use super::Table;

impl Table {
    /// A `figure` with the table and its notes; every text in it is escaped.
    pub fn to_html(&self) -> String {
        let header: String =
            self.header.iter().map(|name| format!("<th scope=\"col\">{}</th>", escape(name))).collect();
        let rows: String = self.rows.iter().map(row).collect();
        let notes: String = self.notes.iter().map(|note| format!("<li>{}</li>\n", escape(note))).collect();
        let notes = if notes.is_empty() { notes } else { format!("<ul class=\"notes\">\n{notes}</ul>\n") };
        let title = escape(&self.title);
        let class = if self.has_best() { " class=\"marked\"" } else { "" };
        format!(
            "<figure class=\"table\">\n<div class=\"scroll\" role=\"region\" aria-label=\"{title}\" \
             tabindex=\"0\">\n\
             <table{class}>\n<caption>{title}</caption>\n<thead><tr>{header}</tr></thead>\n\
             <tbody>\n{rows}</tbody>\n\
             </table>\n</div>\n{notes}</figure>\n"
        )
    }
}

fn row(row: &super::Row) -> String {
    let cells: String = row
        .cells
        .iter()
        .map(|cell| {
            let text = escape(&cell.text);
            if cell.best { format!("<td><strong>{text}</strong></td>") } else { format!("<td>{text}</td>") }
        })
        .collect();
    let class = if row.below { " class=\"below\"" } else { "" };
    format!("<tr{class}><th scope=\"row\">{}</th>{cells}</tr>\n", escape(&row.name))
}

/// Text that HTML takes as text, between tags and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
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
    fn names_and_notes_are_escaped_and_the_best_is_strong() {
        let mut table = Table::new("A & B", ["Method", "\"New\""]);
        table.push("<b>", vec![Cell { text: "60.00".into(), value: Some(60.0), best: false }]);
        table.notes.push("it's < 1".into());
        let html = table.mark_best().to_html();
        for expected in [
            "<caption>A &amp; B</caption>",
            "<th scope=\"col\">&quot;New&quot;</th>",
            "<th scope=\"row\">&lt;b&gt;</th><td><strong>60.00</strong></td>",
            "<li>it&#39;s &lt; 1</li>",
        ] {
            assert!(html.contains(expected), "{expected} is not in {html}");
        }
    }
}
