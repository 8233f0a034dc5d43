//! What is computed: from a seed to a checksum, the same bits each time.

use crate::vectors;
use fastrand::Rng;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{Read, Write};
use std::panic::{catch_unwind, panic_any};

pub struct Work {
    pub name: &'static str,
    pub run: fn(u64) -> u64,
}

pub const WORK: &[Work] = &[
    Work {
        name: "allocator",
        run: allocator,
    },
    Work {
        name: "hash map",
        run: hash_map,
    },
    Work {
        name: "regex",
        run: regular_expression,
    },
    Work {
        name: "JSON",
        run: json,
    },
    Work {
        name: "deflate",
        run: deflate,
    },
    Work {
        name: "floats",
        run: floats,
    },
    Work {
        name: "copies",
        run: copies,
    },
    Work {
        name: "mathematics",
        run: mathematics,
    },
    Work {
        name: "AVX2",
        run: vectors::avx2,
    },
    Work {
        name: "AVX-512",
        run: vectors::avx512,
    },
    Work {
        name: "panics",
        run: panics,
    },
    Work {
        name: "backtraces",
        run: backtraces,
    },
    Work {
        name: "thread-locals",
        run: thread_locals,
    },
    Work {
        name: "standard output",
        run: stdio,
    },
];

/// Panics on purpose print nothing.
pub fn be_quiet() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<u64>() {
            before(info);
        }
    }));
}

/// FNV-1a.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

fn allocator(seed: u64) -> u64 {
    let mut random = Rng::with_seed(seed);
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut total = 0_u64;
    for _ in 0..3000 {
        let word = random.u64(..);
        if kept.len() > 100 || word & 3 == 0 && !kept.is_empty() {
            let gone = kept.swap_remove(word as usize % kept.len());
            total = total.wrapping_mul(31).wrapping_add(sum(&gone));
        } else {
            kept.push(vec![word as u8; (word >> 8) as usize % 2000]);
        }
    }
    kept.iter()
        .fold(total, |total, each| total.wrapping_mul(31).wrapping_add(sum(each)))
}

fn hash_map(seed: u64) -> u64 {
    let mut random = Rng::with_seed(seed);
    let mut map = HashMap::new();
    for _ in 0..5000 {
        let word = random.u64(..);
        *map.entry(word % 700).or_insert(0_u64) ^= word;
        map.remove(&(word >> 40));
    }
    let ordered: BTreeMap<_, _> = map.into_iter().collect();
    ordered
        .iter()
        .fold(seed, |sum, (key, value)| sum.rotate_left(5).wrapping_add(key ^ value))
}

fn regular_expression(seed: u64) -> u64 {
    let mut text = String::new();
    let mut random = Rng::with_seed(seed);
    for _ in 0..200 {
        let word = random.u64(..);
        let _ = write!(text, "{}-{:x}@host{}.example, ", word % 1000, word >> 50, word % 7);
    }
    let expression = regex::Regex::new(r"(\d{2,3})-([0-9a-f]+)@(host[1-5])\.example").expect("it is one");
    expression.captures_iter(&text).fold(seed, |total, found| {
        total
            .rotate_left(7)
            .wrapping_add(sum(found[1].as_bytes()) ^ sum(found[3].as_bytes()))
    })
}

fn json(seed: u64) -> u64 {
    let mut random = Rng::with_seed(seed);
    let rows: Vec<serde_json::Value> = (0..150)
        .map(|k| {
            let word = random.u64(..);
            let part = (word >> 11) as f64 / 1e6;
            serde_json::json!({"id": k, "word": word, "part": part, "name": format!("row {k}"), "flags": [word & 1 == 1, null]})
        })
        .collect();
    let text = serde_json::to_string(&rows).expect("values have a text");
    let again: Vec<serde_json::Value> = serde_json::from_str(&text).expect("the text is JSON");
    assert_eq!(again, rows);
    sum(text.as_bytes())
}

fn deflate(seed: u64) -> u64 {
    let mut random = Rng::with_seed(seed);
    let plain: Vec<u8> = (0..20_000)
        .map(|k| (random.u64(..) % 17) as u8 + (k / 1000) as u8)
        .collect();
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(4));
    packer.write_all(&plain).expect("memory takes it");
    let packed = packer.finish().expect("memory takes it");
    let mut again = Vec::new();
    flate2::read::ZlibDecoder::new(&packed[..])
        .read_to_end(&mut again)
        .expect("it was packed here");
    assert_eq!(again, plain);
    sum(&packed)
}

/// Most of the time goes into functions of the C library, which are interrupted too.
fn copies(seed: u64) -> u64 {
    const BYTES: usize = 300_000;
    let mut random = Rng::with_seed(seed);
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(BYTES).collect();
    for _ in 0..20 {
        let copy = black_box(bytes.clone());
        let (from, to, count) = (
            random.usize(..BYTES / 2),
            random.usize(..BYTES / 2),
            random.usize(..BYTES / 2),
        );
        bytes.copy_within(from..from + count, to);
        bytes[to..to + count / 9].fill(copy[from]);
        assert_eq!(copy[to + count..], bytes[to + count..]);
    }
    sum(&bytes)
}

fn mathematics(seed: u64) -> u64 {
    let mut random = Rng::with_seed(seed);
    let mut total = 0.0_f64;
    for _ in 0..3000 {
        let x = random.f64();
        total += x.sin().exp() * (1.0 + x).ln().cbrt() + x.powf(1.0 + total.fract().abs()) + x.tanh().atan2(total);
    }
    total.to_bits()
}

fn floats(seed: u64) -> u64 {
    let mut random = Rng::with_seed(seed);
    let mut grid = [[0.0_f64; 24]; 24];
    grid.iter_mut()
        .flatten()
        .for_each(|cell| *cell = (random.u64(..) >> 11) as f64 / 9e15);
    for _ in 0..60 {
        let before = black_box(grid);
        for (i, row) in grid.iter_mut().enumerate() {
            for (j, cell) in row.iter_mut().enumerate() {
                let mean = (before[(i + 1) % 24][j] + before[(i + 23) % 24][j] + before[i][(j + 1) % 24]) / 3.0;
                *cell = mean.sin().mul_add(0.5, before[i][j].sqrt());
            }
        }
    }
    grid.iter()
        .flatten()
        .fold(seed, |sum, cell| sum.rotate_left(3) ^ cell.to_bits())
}

fn panics(seed: u64) -> u64 {
    struct Adds<'a>(&'a Cell<u64>, u64);

    impl Drop for Adds<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get().rotate_left(1) ^ black_box(self.1));
        }
    }

    fn deep(depth: u64, total: &Cell<u64>) -> u64 {
        let _adds = Adds(total, depth);
        if depth == 0 {
            panic_any(total.get());
        }
        deep(black_box(depth - 1), total) + 1
    }

    let total = Cell::new(seed);
    let mut caught = 0_u64;
    for depth in 1..30 {
        let payload = catch_unwind(std::panic::AssertUnwindSafe(|| deep(depth, &total)));
        let word = payload.expect_err("it panics").downcast::<u64>().expect("it is a word");
        caught = caught.wrapping_add(*word).rotate_left(11);
    }
    caught ^ total.get()
}

fn backtraces(_seed: u64) -> u64 {
    #[inline(never)]
    fn inner_of_all(depth: u32) -> u64 {
        if black_box(depth) > 0 {
            return black_box(inner_of_all(depth - 1));
        }
        let text = Backtrace::force_capture().to_string();
        text.matches("inner_of_all").count() as u64
    }
    inner_of_all(9)
}

fn thread_locals(seed: u64) -> u64 {
    struct Last(Cell<u64>);

    impl Drop for Last {
        fn drop(&mut self) {
            assert_ne!(self.0.get(), 0, "it was used before it is dropped");
        }
    }

    thread_local! {
        static COUNT: Cell<u64> = const { Cell::new(0) };
        static TEXT: RefCell<String> = RefCell::default();
        static LAST: Last = const { Last(Cell::new(0)) };
    }
    COUNT.set(seed);
    let mut random = Rng::with_seed(seed);
    for _ in 0..2000 {
        let word = random.u64(..);
        COUNT.set(COUNT.get().rotate_left(3) ^ word);
        LAST.with(|last| last.0.set(word | 1));
        TEXT.with_borrow_mut(|text| {
            let _ = write!(text, "{:x}", word & 15);
            if text.len() > 500 {
                text.drain(..250);
            }
        });
    }
    let text = TEXT.take();
    COUNT.get() ^ sum(text.as_bytes())
}

fn stdio(seed: u64) -> u64 {
    let mut sink = std::io::LineWriter::new(std::fs::File::create("/dev/null").expect("it is there"));
    let mut total = seed;
    for k in 0..200_u64 {
        let line = format!("{k:04} {:.6}\n", (seed ^ k) as u32 as f64 / 3.0);
        total = total.rotate_left(1) ^ sum(line.as_bytes());
        sink.write_all(line.as_bytes()).expect("it takes everything");
    }
    total
}
