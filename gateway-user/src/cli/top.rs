//! `gateway top`: tunnels and their throughput, live. A thread asks the agent; this one owns the terminal.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use ratatui::crossterm::event::{self, Event};

use super::arguments::Top;
use super::exit::Exit;
use crate::control_socket::{self, Request, Response};
use crate::status::Status;

mod keys;
mod rates;
mod view;

use keys::{Keyboard, Next};
use rates::Rates;

/// Longest wait for a key before samples and signals are looked at.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// Columns of `--once` when the terminal does not tell.
const COLUMNS: u16 = 120;

/// What the rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Sort {
    /// Octets per second in both directions, highest first
    #[default]
    Rate,
    /// Octets per second from the peer, highest first
    In,
    /// Octets per second to the peer, highest first
    Out,
    /// Dropped packets per second, highest first
    Drops,
    /// State, the worst first
    State,
    /// Name
    Name,
}

impl Sort {
    const ALL: [Self; 6] = [
        Self::Rate,
        Self::In,
        Self::Out,
        Self::Drops,
        Self::State,
        Self::Name,
    ];

    fn step(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|&sort| sort == self).unwrap_or(0);
        Self::ALL
            .get((at + by) % Self::ALL.len())
            .copied()
            .unwrap_or_default()
    }
}

/// What the operator chose to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Choice {
    sort: Sort,
    reverse: bool,
    filter: String,
    /// Leave out tunnels that are up.
    only_ill: bool,
}

/// An answer of the agent, or why there is none.
type Sample = (Instant, Result<Box<Status>, String>);

/// Everything on the screen.
#[derive(Debug, Default)]
struct Screen {
    choice: Choice,
    rates: Rates,
    /// Why the numbers are old; `None` while the agent answers.
    silence: Option<String>,
    paused: bool,
    help: bool,
    /// The filter is being typed.
    typing: bool,
    /// Id of the selected tunnel: it stays selected wherever it is sorted to.
    selected: Option<String>,
    /// First row shown.
    offset: usize,
}

impl Screen {
    fn take(&mut self, (at, sample): Sample) {
        match sample {
            Ok(status) => {
                self.silence = None;
                if !self.paused {
                    self.rates.update(at, *status);
                }
            }
            Err(reason) => self.silence = Some(reason),
        }
    }
}

/// Shows the view until the operator ends it.
pub(super) fn run(wanted: &Top) -> Exit {
    let socket = match super::socket_of(&wanted.agent) {
        Ok(socket) => socket,
        Err(exit) => return exit,
    };
    let mut screen = Screen {
        choice: Choice {
            sort: wanted.sort,
            filter: wanted.filter.clone(),
            ..Choice::default()
        },
        ..Screen::default()
    };
    // The first answer comes before the terminal is taken: without an agent, the sentence is on the usual screen.
    match super::ask_status(&wanted.agent, None) {
        Ok(status) => screen.take((Instant::now(), Ok(status))),
        Err(exit) => return exit,
    }
    let interval = Duration::from_secs(wanted.interval.into());
    if wanted.once {
        std::thread::sleep(interval);
        return match super::ask_status(&wanted.agent, None) {
            Ok(status) => {
                screen.take((Instant::now(), Ok(status)));
                let width = ratatui::crossterm::terminal::size().map_or(COLUMNS, |(columns, _)| columns);
                print!("{}", view::text(&mut screen, width));
                Exit::Success
            }
            Err(exit) => exit,
        };
    }
    if !std::io::stdout().is_terminal() {
        eprintln!("gateway top needs a terminal; `gateway top --once` and `gateway status --json` do not");
        return Exit::Failure;
    }
    let (sender, samples) = sync_channel(1);
    // The thread ends with the process, or when the receiver is gone.
    std::thread::spawn(move || sample(&socket, interval, &sender));
    match live(screen, &samples) {
        Ok(()) => Exit::Success,
        Err(error) => {
            eprintln!("the terminal failed: {error}");
            Exit::Failure
        }
    }
}

fn sample(socket: &Path, interval: Duration, samples: &SyncSender<Sample>) {
    loop {
        std::thread::sleep(interval);
        let answer = match control_socket::ask(socket, &Request::Status { tunnel: None }) {
            Ok(Response::Status(status)) => Ok(status),
            Ok(Response::Refused(sentence) | Response::Done(sentence) | Response::Mistakes(sentence)) => {
                Err(sentence)
            }
            Ok(Response::Api(_)) => Err("it answers something else than was asked".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        if samples.send((Instant::now(), answer)).is_err() {
            return;
        }
    }
}

/// Owns the terminal. It is restored at the end, on an error, on a panic and on SIGTERM, SIGINT and SIGHUP.
fn live(mut screen: Screen, samples: &Receiver<Sample>) -> std::io::Result<()> {
    let stop = stop_signal()?;
    // Also sets a panic hook that restores.
    let mut terminal = ratatui::try_init()?;
    let ended = (|| {
        let mut keyboard = Keyboard::default();
        loop {
            terminal.draw(|frame| view::draw(frame, &mut screen))?;
            // Draws again only when there is something new.
            loop {
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if event::poll(KEY_WAIT)? {
                    match event::read()? {
                        Event::Key(key) if keyboard.press(key, &mut screen) == Next::Quit => return Ok(()),
                        Event::Key(_) | Event::Resize(..) => break,
                        Event::FocusGained | Event::FocusLost | Event::Mouse(_) | Event::Paste(_) => {}
                    }
                }
                match samples.try_recv() {
                    Ok(sample) => {
                        screen.take(sample);
                        break;
                    }
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
                }
            }
        }
    })();
    ratatui::try_restore().and(ended)
}

/// A flag that signals set. In raw mode Ctrl-C is a key; these come from elsewhere.
fn stop_signal() -> std::io::Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let (mut terminate, mut interrupt, mut hangup) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        told.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}
