//! An assembler of classic BPF that writes backwards, so that every jump goes to code already there and its distance is
//! known. Knows instructions, not profiles.

use holm_sys::seccomp::SockFilter;

/// A place in the program: how many instructions there are from it to the end, itself included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// Comparisons of the accumulator with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Compare {
    Equal,
    Greater,
    GreaterOrEqual,
}

const LD_W_ABS: u16 = 0x20;
const RET_K: u16 = 0x06;
const JA: u16 = 0x05;
const JEQ_K: u16 = 0x15;
const JGT_K: u16 = 0x25;
const JGE_K: u16 = 0x35;
const ALU_AND_K: u16 = 0x54;
/// Distance that a conditional jump reaches.
const REACH: usize = 255;

/// A program being written from its end.
#[derive(Debug, Default)]
pub struct Assembler {
    reversed: Vec<SockFilter>,
    /// The nearest return of each value.
    returns: Vec<(u32, Label)>,
}

impl Assembler {
    /// Instructions so far.
    pub fn len(&self) -> usize {
        self.reversed.len()
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(SockFilter { code, jt, jf, k });
        Label(self.reversed.len())
    }

    /// Instructions between one written now and `label`.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len() - label.0
    }

    /// Loads a word of `seccomp_data`, then goes on with what was written last.
    pub fn load(&mut self, offset: u32) -> Label {
        self.push(LD_W_ABS, 0, 0, offset)
    }

    /// Masks the accumulator, then goes on with what was written last.
    pub fn and(&mut self, mask: u32) -> Label {
        self.push(ALU_AND_K, 0, 0, mask)
    }

    /// Returns a value. One that is in reach is used again.
    pub fn ret(&mut self, value: u32) -> Label {
        // Half the reach, so that the jump that is written next still reaches it.
        let near = |label: &Label| self.reversed.len() - label.0 < REACH / 2;
        if let Some((_, label)) = self.returns.iter().find(|(v, label)| *v == value && near(label)) {
            return *label;
        }
        let label = self.push(RET_K, 0, 0, value);
        self.returns.retain(|(v, _)| *v != value);
        self.returns.push((value, label));
        label
    }

    /// Compares the accumulator with `k` and goes to `yes` or `no`.
    pub fn branch(&mut self, compare: Compare, k: u32, yes: Label, no: Label) -> Label {
        // One instruction of margin: a springboard for one side lengthens the way of the other.
        let far = |label: Label, this: &Self| this.distance(label) > REACH - 1;
        let yes = if far(yes, self) { self.push_far(yes) } else { yes };
        let no = if far(no, self) { self.push_far(no) } else { no };
        let code = match compare {
            Compare::Equal => JEQ_K,
            Compare::Greater => JGT_K,
            Compare::GreaterOrEqual => JGE_K,
        };
        // Both are at most REACH by the above.
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(code, jt, jf, k)
    }

    fn push_far(&mut self, to: Label) -> Label {
        // Programs have a few thousand instructions.
        let distance = self.distance(to) as u32;
        self.push(JA, 0, 0, distance)
    }

    /// The program in its order.
    pub fn finish(mut self) -> Vec<SockFilter> {
        self.reversed.reverse();
        self.reversed
    }
}
