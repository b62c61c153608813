//! Runs a classic BPF filter as the kernel does, and checks it as the kernel's verifier does. For tests.

use holm_sys::seccomp::SockFilter;

/// What a filter looks at.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub number: u32,
    pub architecture: u32,
    pub args: [u64; 6],
}

impl Call {
    /// A word of `struct seccomp_data`.
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            // The instruction pointer, of which no filter of ours knows.
            8 | 12 => panic!("load of the instruction pointer"),
            16..64 if offset.is_multiple_of(8) => self.args[(offset as usize - 16) / 8] as u32,
            16..64 if offset.is_multiple_of(4) => (self.args[(offset as usize - 16) / 8] >> 32) as u32,
            _ => panic!("load at {offset}"),
        }
    }
}

/// Panics where the kernel would refuse the filter: unknown instructions, jumps past the end, no return at the end.
pub fn verify(filter: &[SockFilter]) {
    assert!((1..=4096).contains(&filter.len()), "{} instructions", filter.len());
    for (at, one) in filter.iter().enumerate() {
        let reach = match one.code {
            0x05 => one.k as usize,
            0x15 | 0x25 | 0x35 => usize::from(one.jt.max(one.jf)),
            0x20 => {
                assert!(one.k < 64 && one.k % 4 == 0);
                0
            }
            0x54 => 0,
            0x06 => continue,
            other => panic!("instruction {other:#x}"),
        };
        assert!(at + 1 + reach < filter.len(), "jump from {at} by {reach} past {}", filter.len());
    }
}

/// The filter's answer, and how many instructions it took.
pub fn run(filter: &[SockFilter], call: &Call) -> (u32, usize) {
    let (mut at, mut accumulator, mut steps) = (0usize, 0u32, 0usize);
    loop {
        let one = filter[at];
        at += 1;
        steps += 1;
        let holds = match one.code {
            0x06 => return (one.k, steps),
            0x05 => {
                at += one.k as usize;
                continue;
            }
            0x20 => {
                accumulator = call.word(one.k);
                continue;
            }
            0x54 => {
                accumulator &= one.k;
                continue;
            }
            0x15 => accumulator == one.k,
            0x25 => accumulator > one.k,
            0x35 => accumulator >= one.k,
            other => panic!("instruction {other:#x}"),
        };
        at += usize::from(if holds { one.jt } else { one.jf });
    }
}
