//! How the screen looks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState};

use super::rates::{Rate, limited};
use super::{Screen, Sort};
use crate::cli::arguments::TOP_HELP;
use crate::cli::table::duration;
use crate::status::{TunnelState, TunnelStatus};

/// Most gateways shown above the tunnels.
const GATEWAYS: usize = 4;
/// Lines about the selected tunnel.
const DETAIL: u16 = 2;
/// From this width on there are columns for packets.
const WIDE: u16 = 110;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &mut Screen) {
    let area = frame.area();
    // A small terminal keeps the tunnels and gives up the rest.
    let room = usize::from(area.height.saturating_sub(14));
    let gateways = screen.rates.status.gateways.len().min(GATEWAYS).min(room);
    let gateways = u16::try_from(gateways).unwrap_or(0);
    let [head, limits, body, detail, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(if gateways > 0 { gateways + 1 } else { 0 }),
        Constraint::Min(2),
        Constraint::Length(if area.height >= 12 { DETAIL } else { 0 }),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(header(screen)), head);
    frame.render_widget(gateway_table(screen, gateways.into()), limits);
    tunnel_table(frame, screen, body);
    frame.render_widget(Paragraph::new(detail_lines(screen)), detail);
    frame.render_widget(Paragraph::new(footer(screen)), foot);
    if screen.help {
        help(frame, area);
    }
}

/// The view as text, as high as its tunnels.
pub(super) fn text(screen: &mut Screen, width: u16) -> String {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    let rows = screen.rates.rows(&screen.choice).len();
    let height = u16::try_from(rows + GATEWAYS + 8).unwrap_or(u16::MAX).max(24);
    // A backend of memory has no errors.
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width.max(80), height));
    let Ok(_) = terminal.draw(|frame| draw(frame, screen));
    let buffer = terminal.backend().buffer();
    let lines = buffer.content.chunks(usize::from(buffer.area.width));
    let mut text = String::new();
    for line in lines {
        let line: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
        if !line.trim().is_empty() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    // The last line is that of the keys.
    let end = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
    text.truncate(end);
    text
}

fn header(screen: &Screen) -> Vec<Line<'static>> {
    let status = &screen.rates.status;
    let total = screen.rates.total();
    let mut first = vec![
        Span::from(format!("gateway {}", status.version)).bold(),
        Span::from(format!("  xdp {}  ", status.xdp.mode)),
    ];
    for (state, count) in screen.rates.states() {
        let style = if count > 0 { hue(state) } else { Style::new().dim() };
        first.push(Span::styled(format!(" {count} {}", state.name()), style));
    }
    let second = format!(
        "in {}bit/s {}pkt/s   out {}bit/s {}pkt/s   dropped {}/s",
        prefixed(total.bits_in),
        prefixed(total.packets_in),
        prefixed(total.bits_out),
        prefixed(total.packets_out),
        prefixed(total.drops)
    );
    let second = match (&screen.silence, status.problems.as_slice()) {
        (Some(reason), _) => Line::from(format!("the agent does not answer: {reason}"))
            .red()
            .bold(),
        (None, [first, rest @ ..]) if !rest.is_empty() => {
            Line::from(format!("problem: {first} (and {} more)", rest.len())).red()
        }
        (None, [only]) => Line::from(format!("problem: {only}")).red(),
        (None, _) => Line::from(second),
    };
    vec![Line::from(first), second]
}

fn gateway_table(screen: &Screen, shown: usize) -> Table<'static> {
    let gateways = screen.rates.gateways();
    let rows = gateways.iter().take(shown).map(|(gateway, rate)| {
        let setting = gateway
            .bandwidth_bytes_per_second
            .map_or_else(|| "-".to_owned(), |bytes| prefixed(bytes.saturating_mul(8)));
        let dropped = format!("{} ({} in all)", prefixed(rate.limited), limited(gateway));
        let hot = if rate.limited > 0 {
            Style::new().yellow()
        } else {
            Style::new()
        };
        Row::new([
            Cell::from(gateway.id.clone()),
            Cell::from(right(&setting, 9)),
            Cell::from(right(&prefixed(rate.traffic.bits_in), 9)),
            Cell::from(right(&prefixed(rate.traffic.bits_out), 9)),
            Cell::from(Span::styled(dropped, hot)),
        ])
    });
    let names = [
        "GATEWAY",
        "  LIMIT b",
        "   IN b/s",
        "  OUT b/s",
        "LIMITER DROPS/s",
    ];
    Table::new(rows, [22, 9, 9, 9, 28].map(Constraint::Length)).header(Row::new(names).dim())
}

fn tunnel_table(frame: &mut Frame<'_>, screen: &mut Screen, area: Rect) {
    let rows = screen.rates.rows(&screen.choice);
    let at = screen
        .selected
        .as_ref()
        .and_then(|id| rows.iter().position(|row| row.0.id == *id));
    let wide = area.width >= WIDE;
    let lines = rows.iter().map(|(tunnel, rate)| row(tunnel, rate, wide));
    let mark = |name: &str, sorts: &[Sort]| {
        let arrow = if screen.choice.reverse { '^' } else { 'v' };
        if sorts.contains(&screen.choice.sort) {
            Cell::from(format!("{name}{arrow}")).bold()
        } else {
            Cell::from(name.to_owned())
        }
    };
    let mut names = vec![
        mark("TUNNEL", &[Sort::Name]),
        mark("STATE", &[Sort::State]),
        Cell::from("FOR"),
        mark("  IN b/s", &[Sort::In, Sort::Rate]),
        mark(" OUT b/s", &[Sort::Out, Sort::Rate]),
    ];
    let mut widths = [24, 11, 7, 9, 9].map(Constraint::Length).to_vec();
    if let Some(first) = widths.first_mut() {
        *first = Constraint::Fill(3);
    }
    if wide {
        names.extend(["IN pkt/s", "OUT pkt/s", "PEER"].map(Cell::from));
        widths.extend([9, 9, 15].map(Constraint::Length));
    }
    names.push(mark("DROPS/s", &[Sort::Drops]));
    names.push(Cell::from("LAST FAILURE"));
    widths.extend([Constraint::Length(8), Constraint::Fill(4)]);
    let table = Table::new(lines, widths)
        .header(Row::new(names).style(Style::new().fg(Color::Black).bg(Color::Gray)))
        .row_highlight_style(Modifier::REVERSED);
    let mut state = TableState::new().with_offset(screen.offset).with_selected(at);
    frame.render_stateful_widget(table, area, &mut state);
    screen.offset = state.offset();
}

fn row(tunnel: &TunnelStatus, rate: &Rate, wide: bool) -> Row<'static> {
    let failure = tunnel.last_failure.as_ref().map_or_else(
        || Cell::from("-"),
        |failure| Cell::from(format!("{} {} ago", failure.code, duration(failure.seconds_ago))),
    );
    let mut cells = vec![
        Cell::from(tunnel.id.clone()),
        Cell::from(Span::styled(tunnel.state.name(), hue(tunnel.state))),
        Cell::from(duration(tunnel.state_seconds)),
        Cell::from(right(&prefixed(rate.bits_in), 8)),
        Cell::from(right(&prefixed(rate.bits_out), 8)),
    ];
    if wide {
        let peer = tunnel.peer.map(|peer| peer.to_string()).unwrap_or_default();
        cells.push(Cell::from(right(&prefixed(rate.packets_in), 8)));
        cells.push(Cell::from(right(&prefixed(rate.packets_out), 8)));
        cells.push(Cell::from(peer));
    }
    cells.push(Cell::from(right(&prefixed(rate.drops), 7)));
    cells.push(failure);
    Row::new(cells)
}

/// About the selected tunnel: what it is, and how it last failed.
fn detail_lines(screen: &Screen) -> Vec<Line<'static>> {
    let selected = screen.selected.as_ref();
    let tunnel = selected.and_then(|id| screen.rates.status.tunnels.iter().find(|tunnel| tunnel.id == *id));
    let Some(tunnel) = tunnel else { return Vec::new() };
    let ike = tunnel.ike.as_ref();
    let peer = tunnel
        .peer
        .map_or_else(|| "any".to_owned(), |peer| peer.to_string());
    let what = format!(
        "{} ({}): {} - {peer}, {}, {} of {} range pairs",
        tunnel.id,
        tunnel.name,
        tunnel.gateway,
        ike.map_or("no IKE SA", |ike| ike.algorithms.as_str()),
        tunnel.children.iter().map(|child| child.serves).sum::<usize>(),
        tunnel.pairs
    );
    let advice = tunnel.last_failure.as_ref().map(|failure| {
        let said = format!("{}: {}", failure.code, failure.advice);
        Line::from(said).yellow()
    });
    std::iter::once(Line::from(what)).chain(advice).collect()
}

fn footer(screen: &Screen) -> Line<'static> {
    if screen.typing {
        return Line::from(format!(
            "filter: {}_   Enter keeps it, Esc undoes it",
            screen.choice.filter
        ))
        .bold();
    }
    let mut words = vec!["q quit  ? help  / filter  s sort  r reverse  a all/ill  p pause".to_owned()];
    if screen.paused {
        words.push("PAUSED".to_owned());
    }
    if screen.choice.only_ill {
        words.push("not up".to_owned());
    }
    if !screen.choice.filter.is_empty() {
        words.push(format!("filter: {}", screen.choice.filter));
    }
    Line::from(words.join("  ")).dim()
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let keys = TOP_HELP.split("\n\n").next().unwrap_or_default();
    let height = u16::try_from(keys.lines().count() + 2).unwrap_or(u16::MAX);
    let inside = Rect {
        height: height.min(area.height),
        ..area
    };
    frame.render_widget(Clear, inside);
    let block = Block::bordered().title(" any key closes this ");
    frame.render_widget(Paragraph::new(keys).block(block), inside);
}

fn hue(state: TunnelState) -> Style {
    match state {
        TunnelState::Up => Style::new().green(),
        TunnelState::Negotiating => Style::new().yellow(),
        TunnelState::Down => Style::new().red(),
        TunnelState::Disabled => Style::new().dim(),
    }
}

fn right(text: &str, width: usize) -> String {
    format!("{text:>width$}")
}

/// A number with a decimal prefix and three digits: `0`, `999`, `1.50 k`, `10.2 G`.
fn prefixed(number: u64) -> String {
    const PREFIXES: [char; 6] = ['k', 'M', 'G', 'T', 'P', 'E'];
    if number < 1000 {
        return number.to_string();
    }
    // Hundredths of the unit.
    let mut hundredths = number / 10;
    let mut prefix = 0;
    while hundredths >= 100_000 && prefix + 1 < PREFIXES.len() {
        hundredths /= 1000;
        prefix += 1;
    }
    let name = PREFIXES.get(prefix).copied().unwrap_or(' ');
    let (whole, fraction) = (hundredths / 100, hundredths % 100);
    match whole {
        0..10 => format!("{whole}.{fraction:02} {name}"),
        10..100 => format!("{whole}.{} {name}", fraction / 10),
        _ => format!("{whole} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::rates::tests::{rates, status, tunnel};
    use super::*;
    use crate::status::FailureStatus;

    fn screen() -> Screen {
        let before = status(
            vec![
                tunnel("vpnx-idc", TunnelState::Up, (0, 0)),
                tunnel("vpnx-branch", TunnelState::Down, (0, 0)),
            ],
            0,
        );
        let mut ill = tunnel("vpnx-branch", TunnelState::Down, (0, 0));
        ill.last_failure = Some(FailureStatus {
            code: "psk_mismatch".into(),
            advice: "compare the keys".into(),
            seconds_ago: 61,
            ..FailureStatus::default()
        });
        let after = status(
            vec![tunnel("vpnx-idc", TunnelState::Up, (3_000_000, 500)), ill],
            14,
        );
        Screen {
            rates: rates(before, after),
            selected: Some("vpnx-branch".into()),
            ..Screen::default()
        }
    }

    fn drawn(screen: &mut Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, screen)).unwrap();
        terminal.backend().to_string()
    }

    #[track_caller]
    fn contains(text: &str, expected: &[&str]) {
        for expected in expected {
            assert!(text.contains(expected), "no {expected} in\n{text}");
        }
    }

    #[test]
    fn eighty_columns_show_states_rates_failures_and_limiter_drops() {
        let text = drawn(&mut screen(), 80, 24);
        contains(
            &text,
            &[
                "1 up",
                "1 down",
                "in 12.0 Mbit/s",
                "100 M",
                "7 (14 in all)",
                "vpnx-idc",
                "12.0 M",
                "2.00 k",
                "psk_mismatch 1m1s",
                "psk_mismatch: compare the keys",
                "q quit",
            ],
        );
    }

    #[test]
    fn a_wide_terminal_adds_packets_and_peers() {
        let text = drawn(&mut screen(), 140, 40);
        contains(&text, &["IN pkt/s", "198.51.100.7"]);
    }

    #[test]
    fn no_size_of_terminal_is_too_small_or_too_large() {
        for (width, height) in [(1, 1), (10, 3), (40, 10), (80, 24), (300, 100)] {
            let mut screen = screen();
            screen.help = true;
            drawn(&mut screen, width, height);
        }
    }

    #[test]
    fn thousands_of_tunnels_scroll_to_the_selected_one() {
        let tunnels = || {
            (0..5000)
                .map(|n| tunnel(&format!("t{n:04}"), TunnelState::Up, (0, 0)))
                .collect()
        };
        let mut screen = Screen {
            rates: rates(status(tunnels(), 0), status(tunnels(), 0)),
            selected: Some("t4321".into()),
            ..Screen::default()
        };
        let text = drawn(&mut screen, 80, 24);
        contains(&text, &["t4321 (name of t4321)", "t4320"]);
    }

    #[test]
    fn silence_and_problems_are_told() {
        let mut screen = screen();
        screen.rates.status.problems = vec!["interface wan0 is down".into(), "another".into()];
        contains(
            &drawn(&mut screen, 80, 24),
            &["problem: interface wan0 is down (and 1 more)"],
        );
        screen.silence = Some("connection refused".into());
        contains(
            &drawn(&mut screen, 80, 24),
            &["the agent does not answer: connection refused"],
        );
    }

    #[test]
    fn help_lists_the_keys() {
        let mut screen = screen();
        screen.help = true;
        contains(
            &drawn(&mut screen, 80, 24),
            &["Ctrl-C", "pause", "any key closes this"],
        );
    }

    #[test]
    fn once_prints_all_tunnels_without_keys() {
        let text = text(&mut screen(), 80);
        contains(&text, &["vpnx-idc", "vpnx-branch", "LIMIT"]);
        assert!(!text.contains("q quit"), "{text}");
    }

    #[test]
    fn numbers_keep_three_digits() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.00 k"),
            (12_345, "12.3 k"),
            (999_999, "999 k"),
            (1_000_000, "1.00 M"),
            (10_240_000_000, "10.2 G"),
            (u64::MAX, "18.4 E"),
        ] {
            assert_eq!(prefixed(number), text);
        }
    }
}
