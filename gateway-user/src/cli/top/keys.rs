//! What the keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{Screen, Sort};

/// Rows of a page.
const PAGE: usize = 10;

/// What comes after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on.
    Continue,
    /// End.
    Quit,
}

/// The keyboard.
#[derive(Debug, Default)]
pub(super) struct Keyboard {
    /// The filter before it was edited.
    before: String,
}

impl Keyboard {
    /// Takes a key.
    pub(super) fn press(&mut self, key: KeyEvent, screen: &mut Screen) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Continue;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Next::Quit;
        }
        if screen.typing {
            self.edit(key.code, screen);
            return Next::Continue;
        }
        if std::mem::take(&mut screen.help) {
            return Next::Continue;
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "most keys do nothing")]
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Next::Quit,
            KeyCode::Up | KeyCode::Char('k') => move_by(screen, |at, _| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => move_by(screen, |at, _| at + 1),
            KeyCode::PageUp => move_by(screen, |at, _| at.saturating_sub(PAGE)),
            KeyCode::PageDown => move_by(screen, |at, _| at + PAGE),
            KeyCode::Home | KeyCode::Char('g') => move_by(screen, |_, _| 0),
            KeyCode::End | KeyCode::Char('G') => move_by(screen, |_, rows| rows),
            KeyCode::Char('/') => {
                screen.typing = true;
                self.before.clone_from(&screen.choice.filter);
            }
            KeyCode::Char('s') => screen.choice.sort = screen.choice.sort.step(1),
            KeyCode::Char('S') => screen.choice.sort = screen.choice.sort.step(Sort::ALL.len() - 1),
            KeyCode::Char('r') => screen.choice.reverse = !screen.choice.reverse,
            KeyCode::Char('a') => screen.choice.only_ill = !screen.choice.only_ill,
            KeyCode::Char('p' | ' ') => screen.paused = !screen.paused,
            KeyCode::Char('?' | 'h') => screen.help = true,
            _ => {}
        }
        Next::Continue
    }

    fn edit(&mut self, code: KeyCode, screen: &mut Screen) {
        let filter = &mut screen.choice.filter;
        #[expect(clippy::wildcard_enum_match_arm, reason = "most keys do nothing")]
        match code {
            KeyCode::Enter => screen.typing = false,
            KeyCode::Esc => {
                // Escape undoes the edit; with nothing edited, it clears the filter.
                let typed = std::mem::take(filter);
                if typed != self.before {
                    filter.clone_from(&self.before);
                }
                screen.typing = false;
            }
            KeyCode::Backspace => drop(filter.pop()),
            KeyCode::Char(character) if !character.is_control() => filter.push(character),
            _ => {}
        }
    }
}

/// Moves the selection: from its row and the number of the last row to a row.
fn move_by(screen: &mut Screen, to: impl FnOnce(usize, usize) -> usize) {
    let rows = screen.rates.rows(&screen.choice);
    let Some(last) = rows.len().checked_sub(1) else {
        return;
    };
    let at = screen
        .selected
        .as_ref()
        .and_then(|id| rows.iter().position(|row| row.0.id == *id))
        .unwrap_or(0);
    screen.selected = rows.get(to(at, last).min(last)).map(|row| row.0.id.clone());
}

#[cfg(test)]
mod tests {
    use super::super::rates::tests::{rates, status, tunnel};
    use super::*;
    use crate::status::TunnelState;

    fn screen() -> Screen {
        let tunnels = || {
            ('a'..='z')
                .map(|id| tunnel(&id.to_string(), TunnelState::Up, (0, 0)))
                .collect()
        };
        Screen {
            rates: rates(status(tunnels(), 0), status(tunnels(), 0)),
            ..Screen::default()
        }
    }

    fn press(screen: &mut Screen, keys: &[KeyCode]) -> Next {
        let mut keyboard = Keyboard::default();
        let mut next = Next::Continue;
        for &code in keys {
            next = keyboard.press(code.into(), screen);
        }
        next
    }

    #[test]
    fn the_selection_stays_inside_the_list() {
        use KeyCode::{Down, End, Home, PageDown, PageUp, Up};
        for (keys, expected) in [
            (&[Up][..], "a"),
            (&[Down], "b"),
            (&[Down, Down, Up], "b"),
            (&[PageDown], "k"),
            (&[PageDown, PageDown, PageDown, PageDown], "z"),
            (&[End], "z"),
            (&[End, Down], "z"),
            (&[End, PageUp], "p"),
            (&[End, Home], "a"),
        ] {
            let mut screen = screen();
            press(&mut screen, keys);
            assert_eq!(screen.selected.as_deref(), Some(expected), "{keys:?}");
        }
    }

    #[test]
    fn a_filter_is_typed_kept_and_cleared() {
        use KeyCode::{Backspace, Char, Enter, Esc};
        for (keys, expected) in [
            (&[Char('/'), Char('q'), Char('x'), Backspace, Enter][..], "q"),
            (&[Char('/'), Char('x'), Esc], ""),
            (&[Char('/'), Char('x'), Enter, Char('/'), Char('y'), Esc], "x"),
            (&[Char('/'), Char('x'), Enter, Char('/'), Esc], ""),
        ] {
            let mut screen = screen();
            assert_eq!(press(&mut screen, keys), Next::Continue);
            assert_eq!(
                (screen.choice.filter.as_str(), screen.typing),
                (expected, false),
                "{keys:?}"
            );
        }
    }

    #[test]
    fn keys_that_quit_quit() {
        use KeyCode::{Char, Esc};
        assert_eq!(press(&mut screen(), &[Char('q')]), Next::Quit);
        assert_eq!(press(&mut screen(), &[Esc]), Next::Quit);
        assert_eq!(press(&mut screen(), &[Char('?'), Esc]), Next::Continue);
        let interrupt = KeyEvent::new(Char('c'), KeyModifiers::CONTROL);
        let mut typing = screen();
        typing.typing = true;
        assert_eq!(Keyboard::default().press(interrupt, &mut typing), Next::Quit);
    }

    #[test]
    fn sorting_steps_through_all_columns_and_back() {
        let mut screen = screen();
        let steps = vec![KeyCode::Char('s'); Sort::ALL.len()];
        press(&mut screen, &steps);
        assert_eq!(screen.choice.sort, Sort::Rate);
        press(&mut screen, &[KeyCode::Char('S'), KeyCode::Char('r')]);
        assert_eq!((screen.choice.sort, screen.choice.reverse), (Sort::Name, true));
    }
}
