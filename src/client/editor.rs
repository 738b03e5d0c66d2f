//! The keys: what each does to the typed line, or asks for.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rustyline::completion::longest_common_prefix;
use rustyline::{At, Movement, Word};

use super::files::History;
use super::input::Input;
use super::line::Line;

/// Names of a completion to list.
const LISTED_MAX: usize = 100;

/// What a key asks for beyond the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Enter, or a paste of several lines: these are typed, and what is left of the line is still there.
    Lines(Vec<String>),
    /// Tab.
    Complete,
    /// Ctrl-C: the line is empty now.
    Interrupt {
        /// It was before.
        was_empty: bool,
    },
    /// The line has no room for what was typed or pasted.
    Full,
    /// Ctrl-D in an empty line.
    Leave,
    /// Ctrl-L.
    Clear,
    /// Ctrl-Z.
    Suspend,
}

/// The typed line, and what it may be replaced by.
pub(super) struct Editor {
    line: Line,
    history: History,
    /// What stood before the cursor when names were asked for.
    awaiting_names: Option<String>,
    /// Enter was pressed meanwhile.
    is_enter_held: bool,
}

impl Editor {
    pub(super) fn new(history: History) -> Self {
        Editor { line: Line::new(), history, awaiting_names: None, is_enter_held: false }
    }

    pub(super) fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    /// Keeps a line that was typed, to recall it.
    pub(super) fn remember(&mut self, line: &str) {
        self.history.add(line, Input::is_private(line));
    }

    /// Writes the lines that the next client can recall.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub(super) fn save(&mut self) -> Result<(), String> {
        self.history.save()
    }

    /// Takes in what has happened at the terminal.
    pub(super) fn key(&mut self, event: Event) -> Option<Key> {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.press(key),
            Event::Paste(text) => self.paste(&text),
            _ => None,
        }
    }

    /// The names for a completion are on their way.
    pub(super) fn await_names(&mut self) {
        self.awaiting_names = Some(self.line.before_cursor().to_owned());
    }

    /// Whether names were asked for, and nothing was typed since.
    fn awaits_names(&self) -> bool {
        self.awaiting_names.as_deref() == Some(self.line.before_cursor())
    }

    /// The same; from now on none are awaited.
    pub(super) fn takes_names(&mut self) -> bool {
        let awaits = self.awaits_names();
        self.awaiting_names = None;
        awaits
    }

    /// The line whose Enter has waited for names. The next key releases it, too, so no key is lost.
    pub(super) fn take_held(&mut self) -> Option<String> {
        std::mem::take(&mut self.is_enter_held).then(|| self.line.take())
    }

    /// Completes the word that begins at `start` by `names`: to the only one, or as far as they agree. Returns the list of
    /// them if they do not agree beyond what is typed.
    pub(super) fn offer(&mut self, start: usize, names: &[String]) -> Option<String> {
        let typed = self.line.before_cursor().get(start..)?.to_owned();
        match (names, longest_common_prefix(names)) {
            ([only], _) => self.line.complete(start, &format!("{only} ")),
            (_, Some(common)) if common.len() > typed.len() => self.line.complete(start, common),
            ([], _) => {}
            _ => {
                let listed = names.iter().take(LISTED_MAX).map(String::as_str).collect::<Vec<_>>().join("  ");
                let more = names.len().saturating_sub(LISTED_MAX);
                return Some(if more > 0 { format!("{listed} ... and {more} more") } else { listed });
            }
        }
        None
    }

    /// Pasted text. All of its lines but the last are typed.
    fn paste(&mut self, text: &str) -> Option<Key> {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let mut lines: Vec<&str> = text.split('\n').collect();
        let last = lines.pop().unwrap_or_default();
        let mut typed = Vec::new();
        let mut has_room = true;
        for line in lines {
            has_room &= self.line.insert(line);
            typed.push(self.line.take());
        }
        has_room &= self.line.insert(last);
        match typed[..] {
            // A line that is too long for the editor is too long for the server, which says so.
            _ if !has_room && typed.is_empty() => Some(Key::Full),
            [] => None,
            _ => Some(Key::Lines(typed)),
        }
    }

    fn press(&mut self, KeyEvent { code, modifiers, .. }: KeyEvent) -> Option<Key> {
        let control = modifiers.contains(KeyModifiers::CONTROL);
        let alt = modifiers.contains(KeyModifiers::ALT);
        let awaits_names = self.awaits_names();
        let line = &mut self.line;
        match code {
            KeyCode::Enter if awaits_names => self.is_enter_held = true,
            KeyCode::Enter => return Some(Key::Lines(vec![line.take()])),
            KeyCode::Tab => return Some(Key::Complete),
            KeyCode::Left if control || alt => line.word_left(),
            KeyCode::Right if control || alt => line.word_right(),
            KeyCode::Left => line.left(),
            KeyCode::Right => line.right(),
            KeyCode::Home => line.home(),
            KeyCode::End => line.end(),
            KeyCode::Up => self.recall(true),
            KeyCode::Down => self.recall(false),
            KeyCode::Delete => line.delete(),
            KeyCode::Backspace if control || alt => line.kill(&Movement::BackwardWord(1, Word::Emacs)),
            KeyCode::Backspace => line.backspace(),
            KeyCode::Char(letter) if control => return self.control(letter.to_ascii_lowercase()),
            KeyCode::Char('b') if alt => line.word_left(),
            KeyCode::Char('f') if alt => line.word_right(),
            KeyCode::Char('d') if alt => line.kill(&Movement::ForwardWord(1, At::AfterEnd, Word::Emacs)),
            KeyCode::Char(character) if !alt => {
                return (!line.insert(character.encode_utf8(&mut [0; 4]))).then_some(Key::Full);
            }
            _ => {}
        }
        None
    }

    /// A letter with Ctrl, as readline has them.
    fn control(&mut self, letter: char) -> Option<Key> {
        let line = &mut self.line;
        match letter {
            'a' => line.home(),
            'b' => line.left(),
            'c' => return Some(Key::Interrupt { was_empty: line.take().is_empty() }),
            'd' if line.text().is_empty() => return Some(Key::Leave),
            'd' => line.delete(),
            'e' => line.end(),
            'f' => line.right(),
            'h' => line.backspace(),
            'i' => return Some(Key::Complete),
            'j' | 'm' => return Some(Key::Lines(vec![line.take()])),
            'k' => line.kill(&Movement::EndOfBuffer),
            'l' => return Some(Key::Clear),
            'n' => self.recall(false),
            'p' => self.recall(true),
            't' => line.transpose(),
            'u' => line.kill(&Movement::BeginningOfBuffer),
            'w' => line.kill(&Movement::BackwardWord(1, Word::Big)),
            'y' => line.yank(),
            'z' => return Some(Key::Suspend),
            _ => {}
        }
        None
    }

    fn recall(&mut self, is_earlier: bool) {
        let recalled = if is_earlier { self.history.previous(self.line.text()) } else { self.history.next() };
        if let Some(recalled) = recalled {
            self.line.set(recalled);
        }
    }
}
