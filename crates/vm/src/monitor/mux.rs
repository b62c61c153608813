//! The channel to the guest as a state machine: bytes from the guest in; what to write, to send and to tell out.
//!
//! Owns what the guest may do and when. Makes no call and knows no descriptor, so that all of it can be tried without a
//! machine. After a [`Breach`] the machine is to be killed: its agent is broken or taken over.
//!
//! ```text
//! process   -- Run, Exec -->  starting  -- Started -->  running  -- Exited -->  ended  -- all written -->  told, gone
//!                             starting  -- Failed --->  gone
//! ```

use std::collections::{BTreeMap, VecDeque};

use holm_spec::guest::{Decoder, FIRST_PROCESS, Frame, Kind, ToGuest, ToHost, VERSION, Violation, encode, stream};

use super::check;
use super::stream::{Inward, Outward};
use super::wire::OWN_REQUESTS;

/// Most requests without an answer.
const MAX_ASKED: usize = 256;
/// Most bytes for the guest that wait; no more is read from local descriptors then.
const MAX_OUTGOING_BYTES: usize = 512 * 1024;
/// Frames that nobody asked for, that may come between two ticks.
const MAX_IDLE_FRAMES: u32 = 1000;

/// What a guest did that no agent does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// Bytes that are no frame.
    #[error("the guest sent {0}")]
    Frame(#[from] Violation),
    /// A message that is none.
    #[error("the guest sent a message that is none: {0}")]
    Message(String),
    /// A message at a time or with a number where it means nothing.
    #[error("the guest sent {0} out of turn")]
    Turn(&'static str),
    /// A value that cannot be.
    #[error("the guest sent {0}")]
    Value(&'static str),
    /// Data on a stream that is not open.
    #[error("the guest sent on stream {0}, which is not open")]
    Stream(u32),
    /// More data than it was given leave for, or leave for more than can be.
    #[error("the guest broke the credit of stream {0}")]
    Credit(u32),
    /// Too much that nobody asked for.
    #[error("the guest floods the channel")]
    Flood,
    /// It speaks another version.
    #[error("the agent speaks version {0} of the protocol, not {VERSION}")]
    Version(u32),
}

/// What kind of answer a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Done,
    /// The end of the machine, whatever becomes of it.
    Setup,
    Process(u32),
    /// A stream from the guest.
    Out(u32),
    /// A stream to the guest.
    In(u32),
    Stats,
    Processes,
    Sockets,
    Probe,
    Stat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    Starting,
    Running,
    Ended { code: i32, oom: bool },
}

/// The state of a channel.
#[derive(Debug, Default)]
pub struct Mux {
    decoder: Decoder,
    greeted: bool,
    asked: BTreeMap<u32, Asked>,
    processes: BTreeMap<u32, Process>,
    inward: BTreeMap<u32, Inward>,
    outward: BTreeMap<u32, Outward>,
    outgoing: Vec<u8>,
    sent: usize,
    told: VecDeque<ToHost>,
    idle_frames: u32,
    out_of_memory: bool,
}

impl Mux {
    /// A channel to an agent that says hello first, or, in a machine that was restored, has said it long ago.
    pub fn new(restored: bool) -> Self {
        Self { greeted: restored, ..Self::default() }
    }

    /// Takes what the guest sent.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Breach> {
        self.decoder.push(bytes);
        while let Some(frame) = self.decoder.next_frame()? {
            self.frame(frame)?;
        }
        Ok(())
    }

    /// A second has passed.
    pub fn tick(&mut self) {
        self.idle_frames = 0;
        self.out_of_memory = false;
    }

    fn idle(&mut self) -> Result<(), Breach> {
        self.idle_frames += 1;
        if self.idle_frames > MAX_IDLE_FRAMES { Err(Breach::Flood) } else { Ok(()) }
    }

    fn frame(&mut self, frame: Frame) -> Result<(), Breach> {
        let number = frame.stream;
        match frame.kind {
            Kind::Message => {
                let message = serde_json::from_slice(&frame.payload);
                let message = message.map_err(|e: serde_json::Error| Breach::Message(e.to_string()))?;
                self.message(check::message(message)?)
            }
            Kind::Data if frame.payload.is_empty() => self.idle(),
            Kind::Data => {
                let inward = self.inward.get_mut(&number).ok_or(Breach::Stream(number))?;
                inward.take(number, &frame.payload)?;
                self.pay(number);
                Ok(())
            }
            Kind::End => {
                if let Some(inward) = self.inward.get_mut(&number) {
                    inward.ended = true;
                } else if let Some(outward) = self.outward.get_mut(&number) {
                    // Nobody reads there; what is read here goes nowhere.
                    outward.ended = true;
                } else {
                    return self.idle();
                }
                self.settle();
                Ok(())
            }
            Kind::Credit => match (self.outward.get_mut(&number), frame.credit()) {
                (Some(outward), Some(bytes)) if bytes > 0 => outward.allow(number, bytes),
                (None, _) if self.inward.contains_key(&number) => Err(Breach::Credit(number)),
                // Of a stream that is over here already.
                _ => self.idle(),
            },
        }
    }

    fn message(&mut self, message: ToHost) -> Result<(), Breach> {
        if self.greeted == matches!(message, ToHost::Hello { .. }) {
            return Err(Breach::Turn("its greeting, or something else before it,"));
        }
        match &message {
            ToHost::Hello { version, .. } => {
                if *version != VERSION {
                    return Err(Breach::Version(*version));
                }
                self.greeted = true;
            }
            ToHost::OutOfMemory => {
                self.idle()?;
                if std::mem::replace(&mut self.out_of_memory, true) {
                    return Ok(());
                }
            }
            ToHost::Exited { process, code, oom } => {
                let state = self.processes.get_mut(process).filter(|state| **state == Process::Running);
                *state.ok_or(Breach::Turn("the end of a process"))? = Process::Ended { code: *code, oom: *oom };
                for number in [1, 2].map(|n| stream(*process, n)) {
                    self.inward.get_mut(&number).into_iter().for_each(|inward| inward.ended = true);
                }
                self.outward.remove(&stream(*process, 0));
                self.settle();
                return Ok(());
            }
            ToHost::Done { id, .. } => match self.answered(*id, "an answer")? {
                Asked::Done | Asked::Setup => {}
                Asked::Out(stream) | Asked::In(stream) => self.transferred(stream),
                _ => return Err(Breach::Turn("`done`")),
            },
            ToHost::Started { id, .. } => match self.answered(*id, "`started`")? {
                Asked::Process(process) => drop(self.processes.insert(process, Process::Running)),
                _ => return Err(Breach::Turn("`started`")),
            },
            ToHost::Failed { id, .. } => match self.answered(*id, "a failure")? {
                Asked::Process(process) => self.forget(process),
                Asked::Out(stream) | Asked::In(stream) => self.transferred(stream),
                _ => {}
            },
            ToHost::Stats { id, .. } => self.expect(*id, Asked::Stats, "`stats`")?,
            ToHost::Processes { id, .. } => self.expect(*id, Asked::Processes, "`processes`")?,
            ToHost::Stat { id, .. } => self.expect(*id, Asked::Stat, "`stat`")?,
            ToHost::Sockets { id, .. } => self.expect(*id, Asked::Sockets, "`sockets`")?,
            ToHost::Probed { id, .. } => self.expect(*id, Asked::Probe, "`probed`")?,
        }
        self.told.push_back(message);
        Ok(())
    }

    fn answered(&mut self, id: u32, what: &'static str) -> Result<Asked, Breach> {
        self.asked.remove(&id).ok_or(Breach::Turn(what))
    }

    fn expect(&mut self, id: u32, asked: Asked, what: &'static str) -> Result<(), Breach> {
        if self.answered(id, what)? == asked { Ok(()) } else { Err(Breach::Turn(what)) }
    }

    fn forget(&mut self, process: u32) {
        self.processes.remove(&process);
        for number in [0, 1, 2].map(|n| stream(process, n)) {
            self.inward.remove(&number);
            self.outward.remove(&number);
        }
    }

    fn transferred(&mut self, stream: u32) {
        self.outward.remove(&stream);
        self.inward.get_mut(&stream).into_iter().for_each(|inward| inward.ended = true);
        self.settle();
    }

    /// Tells the end of processes whose output was written, and lets go of streams that are over.
    fn settle(&mut self) {
        let ended: Vec<(u32, i32, bool)> = self
            .processes
            .iter()
            .filter_map(|(process, state)| match state {
                Process::Ended { code, oom } => Some((*process, *code, *oom)),
                _ => None,
            })
            .filter(|(process, ..)| {
                [1, 2].iter().all(|n| self.inward.get(&stream(*process, *n)).is_none_or(Inward::is_done))
            })
            .collect();
        for (process, code, oom) in ended {
            self.forget(process);
            self.told.push_back(ToHost::Exited { process, code, oom });
        }
        let transfers = &self.asked;
        let processes = &self.processes;
        self.inward.retain(|number, inward| {
            let owned = processes.contains_key(&(number / 4));
            owned || !inward.is_done() || transfers.values().any(|asked| *asked == Asked::Out(*number))
        });
    }

    /// Passes a request on. *Errors*: why it cannot be, in words for whoever asked; nothing was done.
    pub fn ask(&mut self, request: &ToGuest) -> Result<(), String> {
        let id = request.id();
        if self.asked.contains_key(&id) || self.asked.len() >= MAX_ASKED {
            return Err(format!("cannot pass on request {id}: its number is in use, or too many wait"));
        }
        let asked = match request {
            ToGuest::Setup { .. } => Asked::Setup,
            ToGuest::Run { run, .. } => {
                let terminal = run.spec.process.as_ref().is_some_and(|process| process.terminal);
                Asked::Process(self.start(FIRST_PROCESS, terminal, run.stdin)?)
            }
            ToGuest::Exec { exec, .. } => Asked::Process(self.start(exec.process, exec.spec.terminal, exec.stdin)?),
            ToGuest::TarOut { stream, .. } | ToGuest::TarChanges { stream, .. } => {
                self.free(*stream)?;
                self.inward.insert(*stream, Inward::new());
                Asked::Out(*stream)
            }
            ToGuest::TarIn { stream, .. } => {
                self.free(*stream)?;
                self.outward.insert(*stream, Outward::new());
                Asked::In(*stream)
            }
            ToGuest::Stats { .. } => Asked::Stats,
            ToGuest::Processes { .. } => Asked::Processes,
            ToGuest::Stat { .. } => Asked::Stat,
            ToGuest::Sockets { .. } => Asked::Sockets,
            ToGuest::Probe { .. } => Asked::Probe,
            ToGuest::Signal { .. }
            | ToGuest::Resize { .. }
            | ToGuest::Update { .. }
            | ToGuest::Ping { .. }
            | ToGuest::PowerOff { .. } => Asked::Done,
        };
        let text = serde_json::to_vec(request).map_err(|e| format!("cannot pass on request {id}: {e}"))?;
        if text.len() > holm_spec::guest::MAX_MESSAGE_BYTES {
            self.drop_request(asked);
            return Err(format!("cannot pass on request {id}: it has {} bytes", text.len()));
        }
        encode(Kind::Message, 0, &text, &mut self.outgoing);
        self.asked.insert(id, asked);
        Ok(())
    }

    fn drop_request(&mut self, asked: Asked) {
        match asked {
            Asked::Process(process) => self.forget(process),
            Asked::Out(stream) | Asked::In(stream) => {
                self.inward.remove(&stream);
                self.outward.remove(&stream);
            }
            _ => {}
        }
    }

    fn start(&mut self, process: u32, terminal: bool, stdin: bool) -> Result<u32, String> {
        let in_use = self.inward.keys().chain(self.outward.keys()).any(|stream| stream / 4 == process);
        let fits = (FIRST_PROCESS..OWN_REQUESTS / 4).contains(&process);
        if !fits || in_use || self.processes.contains_key(&process) {
            return Err(format!("cannot start process {process}: its number cannot be used"));
        }
        self.processes.insert(process, Process::Starting);
        if stdin {
            self.outward.insert(stream(process, 0), Outward::new());
        }
        for number in 1..=if terminal { 1 } else { 2 } {
            self.inward.insert(stream(process, number), Inward::new());
        }
        Ok(process)
    }

    fn free(&self, stream: u32) -> Result<(), String> {
        let taken = self.inward.contains_key(&stream) || self.outward.contains_key(&stream);
        if stream < 4 || taken || self.processes.contains_key(&(stream / 4)) {
            return Err(format!("cannot open stream {stream}: its number cannot be used"));
        }
        Ok(())
    }

    /// Whether requests can be passed on now.
    pub fn takes_requests(&self) -> bool {
        self.greeted && self.asked.len() < MAX_ASKED && self.has_room()
    }

    fn has_room(&self) -> bool {
        self.outgoing.len() - self.sent < MAX_OUTGOING_BYTES
    }

    /// The agent has said hello.
    pub fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// What is to be told next: checked, and where it is the end of a process, after all its output was written.
    pub fn next_told(&mut self) -> Option<ToHost> {
        self.told.pop_front()
    }

    /// Whether an answer to this request is still awaited.
    pub fn awaits(&self, id: u32) -> bool {
        self.asked.contains_key(&id)
    }

    /// What is to be sent to the guest.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing[self.sent..]
    }

    /// So much of it was sent.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent == self.outgoing.len() {
            self.sent = 0;
            self.outgoing.clear();
            self.outgoing.shrink_to(MAX_OUTGOING_BYTES / 4);
        } else if self.sent > MAX_OUTGOING_BYTES {
            self.outgoing.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// How many bytes may be read for a stream and given to [`Mux::read`].
    pub fn room(&self, stream: u32) -> usize {
        if self.has_room() { self.outward.get(&stream).map_or(0, Outward::room) } else { 0 }
    }

    /// Sends what was read.
    pub fn read(&mut self, stream: u32, bytes: &[u8]) {
        if let Some(outward) = self.outward.get_mut(&stream) {
            outward.spend(bytes.len());
            encode(Kind::Data, stream, bytes, &mut self.outgoing);
        }
    }

    /// No more is read for a stream.
    pub fn read_ended(&mut self, stream: u32) {
        if let Some(outward) = self.outward.get_mut(&stream).filter(|outward| !outward.ended) {
            outward.ended = true;
            encode(Kind::End, stream, &[], &mut self.outgoing);
        }
    }

    /// Whether more may still be read for a stream, now or later.
    pub fn reads(&self, stream: u32) -> bool {
        self.outward.get(&stream).is_some_and(|outward| !outward.ended)
    }

    /// What is to be written for a stream.
    pub fn to_write(&self, stream: u32) -> &[u8] {
        self.inward.get(&stream).map_or(&[], Inward::front)
    }

    /// So much of it was written.
    pub fn wrote(&mut self, stream: u32, bytes: usize) {
        if let Some(inward) = self.inward.get_mut(&stream) {
            inward.wrote(bytes);
            self.pay(stream);
            self.settle();
        }
    }

    /// Nothing can be written for a stream any more; the guest goes on as if it were.
    pub fn write_failed(&mut self, stream: u32) {
        if let Some(inward) = self.inward.get_mut(&stream) {
            inward.drop_all();
            self.pay(stream);
            self.settle();
        }
    }

    /// Whether something is or will be written for a stream.
    pub fn writes(&self, stream: u32) -> bool {
        self.inward.get(&stream).is_some_and(|inward| !inward.is_done())
    }

    fn pay(&mut self, stream: u32) {
        if let Some(bytes) = self.inward.get_mut(&stream).and_then(Inward::due) {
            encode(Kind::Credit, stream, &bytes.to_le_bytes(), &mut self.outgoing);
        }
    }
}

#[cfg(test)]
mod tests;
