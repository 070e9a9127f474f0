//! Products in f32 on processors that multiply tiles of bf16: those with Intel's AMX.
//!
//! A number in f32 has 24 bits, a bf16 has 8 of the same range. So a number is the sum of three bf16, and a
//! product of two numbers is the sum of nine products of parts. The three smallest are below the last digit
//! of a f32 and are left out. The other six are exact, and are added up in f32. Tiles multiply sixteen times
//! as many bf16 in a cycle as vectors do f32, so that six products take less than half of the time of one.
//!
//! Numbers below 1e-31 lose digits, as tiles take parts below 1e-38 as zero, and infinity becomes NaN.
//!
//! Instructions: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, `TDPBF16PS`.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::OnceLock;

use gram_resample::vectors::widest;
use rayon::prelude::*;

use super::Matrix;

/// Rows of a tile, and f32 in each.
const SIDE: usize = 16;
/// Numbers in bf16 in a row of a tile: a step along the inner dimension.
const STEP: usize = 32;
/// Rows of the left factor, or columns of the right one, that are multiplied at once: two tiles.
const PANEL: usize = 2 * SIDE;
/// Numbers in bf16 that are a number in f32.
const PARTS: usize = 3;
/// Rows of the tiles of a panel in one step: two tiles for each part.
const BLOCK: usize = 2 * PARTS * SIDE;
/// Steps that are multiplied before the next are brought into tiles.
const STEPS: usize = 24;
/// Panels of the left factor that go through the right one together. Their tiles of `STEPS` steps, a
/// megabyte, stay in a core's own cache.
const GROUP: usize = 7;

/// Panels of columns that lie side by side and are brought into tiles together, a step after the other:
/// longer pieces of each row are read at once.
const TOGETHER: usize = 4;

/// A row of a tile: numbers in bf16 by pairs.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Row([u32; SIDE]);

/// Whether this processor has tiles, and the system lets this process use them.
pub(super) fn are_there() -> bool {
    static ARE_THERE: OnceLock<bool> = OnceLock::new();
    *ARE_THERE.get_or_init(|| {
        /// Leaf 7 of CPUID, register EDX: AMX-BF16 and AMX-TILE.
        const INSTRUCTIONS: u32 = 1 << 22 | 1 << 24;
        /// arch_prctl(2): asks for a part of the processor's state, here number 18, what tiles hold.
        const ASK: [libc::c_long; 2] = [0x1023, 18];
        let has_instructions = __cpuid_count(7, 0).edx & INSTRUCTIONS == INSTRUCTIONS;
        // SAFETY: the call reads no memory of this process. It refuses where threads have too small a stack
        // for signals, or where it is not known.
        #[allow(unsafe_code)]
        let is_allowed = || unsafe { libc::syscall(libc::SYS_arch_prctl, ASK[0], ASK[1]) } == 0;
        has_instructions && is_allowed()
    })
}

/// `A B + b`, on all threads, a row after the other. Tiles must [be there](are_there).
pub(super) fn product(left: Matrix<'_>, right: Matrix<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    assert_eq!(left.columns, right.rows, "matrices that do not fit");
    assert!(are_there(), "no tiles");
    let (rows, columns) = (left.rows, right.columns);
    if rows == 0 || columns == 0 {
        return Vec::new();
    }
    let (row_panels, column_panels) = (rows.div_ceil(PANEL), columns.div_ceil(PANEL));
    let mut first = vec![0.0; column_panels * PANEL];
    if let Some(bias) = bias {
        first[..columns].copy_from_slice(bias);
    }
    let count = rows.checked_mul(columns).expect("a product that fits into memory");
    let mut out = Vec::with_capacity(count);
    let place = Out { start: out.as_mut_ptr(), rows, columns };
    let chunk = |start: usize| {
        let end = left.columns.min(start + STEPS * STEP);
        let right = right.turned().columns(start, end).turned();
        (left.columns(start, end), Tiles::new(Items::Columns(right), 0..column_panels, 1))
    };
    let chunks: Vec<_> = (0..left.columns.max(1)).step_by(STEPS * STEP).map(chunk).collect();
    // Some tasks for each thread, so that all end together.
    let groups = row_panels.div_ceil(GROUP);
    let parts = (4 * rayon::current_num_threads()).div_ceil(groups).min(column_panels.div_ceil(4));
    (0..groups * parts).into_par_iter().for_each(|task| {
        let (group, part) = (task / parts, task % parts);
        let panels = group * GROUP..row_panels.min((group + 1) * GROUP);
        let own = part * column_panels / parts..(part + 1) * column_panels / parts;
        for (chunk, (left, right)) in chunks.iter().enumerate() {
            let left = Tiles::new(Items::Rows(*left), panels.clone(), GROUP);
            // From here on this thread must do no other's work, which could use tiles, too.
            let _use = Use::new();
            for column in own.clone() {
                let first = (chunk == 0).then(|| &first[column * PANEL..][..PANEL]);
                for (row, panel) in panels.clone().enumerate() {
                    place.fill([panel, column], left.panel(row), right.panel(column), first);
                }
            }
        }
    });
    // SAFETY: every block of it was filled: parts share out all columns, and groups all rows.
    #[allow(unsafe_code)]
    unsafe {
        out.set_len(count);
    }
    out
}

/// What a factor's tiles are made of.
#[derive(Clone, Copy)]
enum Items<'a> {
    /// Rows of the left factor: a row of a tile is of one item.
    Rows(Matrix<'a>),
    /// Columns of the right factor: a column of a tile is of one item, a pair of numbers in each row.
    Columns(Matrix<'a>),
}

/// Panels of a factor in tiles. Each panel has the tiles of its first step, then those of the next; a step
/// those of the first part of all numbers, then those of the next.
struct Tiles {
    rows: Vec<Row>,
    /// Rows of the tiles of a panel.
    length: usize,
}

impl Tiles {
    /// Those of some panels. Threads share out the work, but no fewer than `at_least` panels. Where the
    /// factor ends within a panel or a step, zeros follow.
    fn new(items: Items<'_>, panels: Range<usize>, at_least: usize) -> Self {
        let (Items::Rows(Matrix { columns: inner, .. }) | Items::Columns(Matrix { rows: inner, .. })) = items;
        let length = BLOCK * inner.div_ceil(STEP).max(1);
        let all = panels.len() * length;
        let mut rows = Vec::with_capacity(all);
        let together = match items {
            Items::Columns(Matrix { column_stride: 1, .. }) => TOGETHER,
            _ => 1,
        };
        let room = rows.spare_capacity_mut()[..all].par_chunks_mut(together * length);
        room.with_min_len(at_least).enumerate().for_each(|(number, room)| {
            widest(
                #[inline(always)]
                || fill(items, panels.start + number * together, room, length),
            );
        });
        // SAFETY: all rows of every panel were written.
        #[allow(unsafe_code)]
        unsafe {
            rows.set_len(all);
        }
        Self { rows, length }
    }

    fn panel(&self, number: usize) -> &[Row] {
        &self.rows[number * self.length..][..self.length]
    }
}

/// Writes the tiles of panels, a `length` each, from one of that number on: a step of all of them, then the
/// next.
#[inline(always)]
fn fill(items: Items<'_>, first: usize, room: &mut [MaybeUninit<Row>], length: usize) {
    for step in 0..length / BLOCK {
        for (panel, room) in (first..).zip(room.chunks_exact_mut(length)) {
            fill_step(items, panel, step, &mut room[step * BLOCK..][..BLOCK]);
        }
    }
}

/// Writes the tiles of a panel in a step.
#[inline(always)]
fn fill_step(items: Items<'_>, panel: usize, step: usize, room: &mut [MaybeUninit<Row>]) {
    for half in 0..2 {
        let (item, inner) = ((2 * panel + half) * SIDE, step * STEP);
        let mut write = |row: usize, pairs: [Row; PARTS]| {
            for (part, pairs) in pairs.into_iter().enumerate() {
                room[(2 * part + half) * SIDE + row].write(pairs);
            }
        };
        match items {
            Items::Rows(matrix) => {
                for (row, numbers) in by_item(matrix, item, inner).iter().enumerate() {
                    write(row, pairs(|pair| [numbers[2 * pair], numbers[2 * pair + 1]]));
                }
            }
            Items::Columns(matrix) => {
                for (row, [one, other]) in by_number(matrix, inner, item).as_chunks().0.iter().enumerate() {
                    write(row, pairs(|item| [one[item], other[item]]));
                }
            }
        }
    }
}

/// `SIDE` rows of a matrix with `STEP` numbers each.
#[inline(always)]
fn by_item(matrix: Matrix<'_>, row: usize, column: usize) -> [[f32; STEP]; SIDE] {
    let mut block = [[0.0; STEP]; SIDE];
    if matrix.column_stride == 1 {
        read(matrix, row, column, &mut block);
        return block;
    }
    for half in 0..STEP / SIDE {
        let mut square = [[0.0; SIDE]; SIDE];
        read(matrix.turned(), column + half * SIDE, row, &mut square);
        turn(&mut square);
        for (row, numbers) in block.iter_mut().zip(&square) {
            row[half * SIDE..][..SIDE].copy_from_slice(numbers);
        }
    }
    block
}

/// `STEP` rows of a matrix with `SIDE` numbers each.
#[inline(always)]
fn by_number(matrix: Matrix<'_>, row: usize, column: usize) -> [[f32; SIDE]; STEP] {
    let mut block = [[0.0; SIDE]; STEP];
    if matrix.column_stride == 1 {
        read(matrix, row, column, &mut block);
        return block;
    }
    for (half, square) in block.as_chunks_mut::<SIDE>().0.iter_mut().enumerate() {
        read(matrix.turned(), column, row + half * SIDE, square);
        turn(square);
    }
    block
}

/// Reads part of a matrix whose rows are pieces of memory. Where it has ended, zeros stay.
#[inline(always)]
fn read<const COLUMNS: usize>(matrix: Matrix<'_>, row: usize, column: usize, block: &mut [[f32; COLUMNS]]) {
    let start = |row: usize| row * matrix.row_stride + column;
    let (lines, columns) = (block.iter_mut().zip(row..matrix.rows), matrix.columns.saturating_sub(column));
    // A length that is known while compiling needs no call for each line.
    if columns >= COLUMNS {
        lines.for_each(|(line, row)| line.copy_from_slice(&matrix.numbers[start(row)..][..COLUMNS]));
    } else if columns > 0 {
        lines.for_each(|(line, row)| {
            line[..columns].copy_from_slice(&matrix.numbers[start(row)..][..columns])
        });
    }
}

/// Exchanges rows and columns: blocks of one number, then of two, of four and of eight change places.
#[inline(always)]
fn turn(block: &mut [[f32; SIDE]; SIDE]) {
    exchange::<1>(block);
    exchange::<2>(block);
    exchange::<4>(block);
    exchange::<8>(block);
}

/// Exchanges blocks of so many numbers to the right of the diagonal with those below it.
#[inline(always)]
fn exchange<const BY: usize>(block: &mut [[f32; SIDE]; SIDE]) {
    for row in (0..SIDE).filter(|row| row & BY == 0) {
        let (upper, lower) = (block[row], block[row + BY]);
        for i in 0..SIDE {
            let is_left = i & BY == 0;
            block[row][i] = if is_left { upper[i] } else { lower[i ^ BY] };
            block[row + BY][i] = if is_left { upper[i ^ BY] } else { lower[i] };
        }
    }
}

/// A row of the tile of each part, from the two numbers at each place.
#[inline(always)]
fn pairs(numbers: impl Fn(usize) -> [f32; 2]) -> [Row; PARTS] {
    let mut rows = [Row([0; SIDE]); PARTS];
    for place in 0..SIDE {
        let [one, other] = numbers(place).map(parts);
        for (row, (one, other)) in rows.iter_mut().zip(one.into_iter().zip(other)) {
            row.0[place] = one.to_bits() >> 16 | other.to_bits() & UPPER;
        }
    }
    rows
}

/// The bits of a f32 that are a bf16.
const UPPER: u32 = 0xffff_0000;

/// Numbers with the bits of a bf16 whose sum is `number`, each nearest to what those before leave. NaN stays
/// NaN.
#[inline(always)]
fn parts(number: f32) -> [f32; PARTS] {
    let nearest = |number: f32| f32::from_bits(number.to_bits().wrapping_add(0x8000) & UPPER);
    let first = nearest(number);
    let second = nearest(number - first);
    [first, second, number - first - second]
}

/// This thread's use of tiles, until it is dropped.
struct Use;

impl Use {
    /// Sets all eight tiles to 16 rows of 64 bytes.
    fn new() -> Self {
        /// Palette 1 and the first row; bytes of a row, and rows, of up to 16 tiles.
        #[repr(C, align(64))]
        struct Shapes {
            palette: [u8; 16],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        let (mut row_bytes, mut rows, mut palette) = ([0; 16], [0; 16], [0; 16]);
        row_bytes[..8].fill(size_of::<Row>() as u16);
        rows[..8].fill(SIDE as u8);
        palette[0] = 1;
        let shapes = Shapes { palette, row_bytes, rows };
        // SAFETY: `product` has asked for tiles. The instruction reads 64 bytes.
        #[allow(unsafe_code)]
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, readonly, preserves_flags));
        }
        Self
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        // SAFETY: nothing is read from tiles after this.
        #[allow(unsafe_code)]
        unsafe {
            asm!("tilerelease", options(nostack, nomem, preserves_flags));
        }
    }
}

/// Where a product goes.
struct Out {
    start: *mut f32,
    rows: usize,
    columns: usize,
}

// SAFETY: threads write to it, each to blocks of its own.
#[allow(unsafe_code)]
unsafe impl Sync for Out {}

impl Out {
    /// Fills the block of two panels with their product and what it starts from: `first` in each row, or else
    /// what this thread has filled it with before. No other thread may use the same block.
    fn fill(&self, panels: [usize; 2], left: &[Row], right: &[Row], first: Option<&[f32]>) {
        let [row, column] = panels.map(|panel| panel * PANEL);
        let (rows, columns) = (PANEL.min(self.rows - row), PANEL.min(self.columns - column));
        // SAFETY: the block lies within what `product` has reserved.
        #[allow(unsafe_code)]
        let start = unsafe { self.start.add(row * self.columns + column) };
        if rows == PANEL && columns == PANEL {
            return multiply(left, right, first, start, self.columns);
        }
        let mut block = [[0.0_f32; PANEL]; PANEL];
        let there = |row: usize| start.wrapping_add(row * self.columns);
        if first.is_none() {
            for (row, numbers) in block.iter_mut().take(rows).enumerate() {
                // SAFETY: these rows and columns are there, and were filled before.
                #[allow(unsafe_code)]
                unsafe {
                    there(row).copy_to_nonoverlapping(numbers.as_mut_ptr(), columns);
                }
            }
        }
        multiply(left, right, first, block.as_mut_ptr().cast(), PANEL);
        for (row, numbers) in block.iter().take(rows).enumerate() {
            // SAFETY: these rows and columns are there.
            #[allow(unsafe_code)]
            unsafe {
                there(row).copy_from_nonoverlapping(numbers.as_ptr(), columns);
            }
        }
    }
}

/// Loads the two tiles of a part of a factor.
macro_rules! load {
    (left, $part:literal) => {
        load!("tmm4", "tmm5", "left", $part)
    };
    (right, $part:literal) => {
        load!("tmm6", "tmm7", "right", $part)
    };
    ($one:literal, $other:literal, $factor:literal, $part:literal) => {
        concat!(
            concat!("tileloadd ", $one, ", [{", $factor, "} + {row} + 2048 * ", $part, "]\n"),
            concat!("tileloadd ", $other, ", [{", $factor, "} + {row} + 2048 * ", $part, " + 1024]"),
        )
    };
}

/// Adds the products of the tiles that are loaded to the four sums; and fetches a sixth of the next step's
/// tiles, for which loading would wait.
macro_rules! multiply {
    ($sixth:literal) => {
        concat!(
            multiply!("tdpbf16ps tmm0, tmm4, tmm6\n", $sixth, 0),
            multiply!("tdpbf16ps tmm1, tmm4, tmm7\n", $sixth, 1),
            multiply!("tdpbf16ps tmm2, tmm5, tmm6\n", $sixth, 2),
            multiply!("tdpbf16ps tmm3, tmm5, tmm7\n", $sixth, 3),
        )
    };
    ($product:literal, $sixth:literal, $quarter:literal) => {
        concat!($product, fetch!("left", $sixth, $quarter), fetch!("right", $sixth, $quarter))
    };
}

/// Fetches four rows of the next step's tiles.
macro_rules! fetch {
    ($factor:literal, $sixth:literal, $quarter:literal) => {
        concat!(
            fetch!($factor, $sixth, $quarter, 0),
            fetch!($factor, $sixth, $quarter, 1),
            fetch!($factor, $sixth, $quarter, 2),
            fetch!($factor, $sixth, $quarter, 3),
        )
    };
    ($factor:literal, $sixth:literal, $quarter:literal, $row:literal) => {
        concat!(
            concat!("prefetcht0 [{", $factor, "} + {block} + 1024 * ", $sixth),
            concat!(" + 256 * ", $quarter, " + 64 * ", $row, "]\n"),
        )
    };
}

/// Writes the product of two panels, `[PANEL, PANEL]`, added to what it starts from, from `out` on, a row
/// every `stride` numbers.
fn multiply(left: &[Row], right: &[Row], first: Option<&[f32]>, out: *mut f32, stride: usize) {
    assert!(left.len() == right.len() && left.len().is_multiple_of(BLOCK) && !left.is_empty());
    assert!(first.is_none_or(|first| first.len() == PANEL));
    let lower = out.wrapping_add(SIDE * stride);
    let stride = stride * size_of::<f32>();
    // Every row of a sum starts as the same row of memory, or as what is there.
    let (first_upper, first_lower, first_stride) = match first {
        Some(first) => (first.as_ptr(), first.as_ptr(), 0),
        None => (out.cast_const(), lower.cast_const(), stride),
    };
    // SAFETY: both panels have the tiles of all steps and `first` has a row, as was just looked at.
    // `Out::fill` says what is at `out`, and `product` has tiles in use.
    #[allow(unsafe_code)]
    unsafe {
        asm!(
            "tileloadd tmm0, [{first_upper} + {first_stride}]",
            "tileloadd tmm1, [{first_upper} + {first_stride} + 64]",
            "tileloadd tmm2, [{first_lower} + {first_stride}]",
            "tileloadd tmm3, [{first_lower} + {first_stride} + 64]",
            // Parts of the right factor and of the left: 0 and 2, 0 and 0, 0 and 1, 1 and 1, 1 and 0,
            // 2 and 0.
            "2:",
            load!(right, 0),
            load!(left, 2),
            multiply!(0),
            load!(left, 0),
            multiply!(1),
            load!(left, 1),
            multiply!(2),
            load!(right, 1),
            multiply!(3),
            load!(left, 0),
            multiply!(4),
            load!(right, 2),
            multiply!(5),
            "add {left}, {block}",
            "add {right}, {block}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{upper} + {stride}], tmm0",
            "tilestored [{upper} + {stride} + 64], tmm1",
            "tilestored [{lower} + {stride}], tmm2",
            "tilestored [{lower} + {stride} + 64], tmm3",
            left = inout(reg) left.as_ptr() => _,
            right = inout(reg) right.as_ptr() => _,
            steps = inout(reg) left.len() / BLOCK => _,
            block = const BLOCK * size_of::<Row>(),
            row = in(reg) size_of::<Row>(),
            first_upper = in(reg) first_upper,
            first_lower = in(reg) first_lower,
            first_stride = in(reg) first_stride,
            upper = in(reg) out,
            lower = in(reg) lower,
            stride = in(reg) stride,
            out("tmm0") _,
            out("tmm1") _,
            out("tmm2") _,
            out("tmm3") _,
            out("tmm4") _,
            out("tmm5") _,
            out("tmm6") _,
            out("tmm7") _,
            options(nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_parts_are_a_number_and_each_is_a_bf16() {
        for bits in (0x1000_0000..0x7f00_0000_u32).step_by(9973) {
            for number in [f32::from_bits(bits), -f32::from_bits(bits)] {
                let parts = parts(number);
                assert_eq!(parts[0] + (parts[1] + parts[2]), number);
                assert!(parts.iter().all(|part| part.to_bits() & !UPPER == 0), "{number}: {parts:?}");
                assert!(parts[1].abs() <= number.abs() / 256.0 && parts[2].abs() <= number.abs() / 65536.0);
            }
        }
    }

    #[test]
    fn nan_stays_nan() {
        for number in [f32::NAN, f32::from_bits(0x7fff_ffff), f32::from_bits(0xffff_ffff)] {
            assert!(parts(number).iter().any(|part| f32::from_bits(part.to_bits() & UPPER).is_nan()));
        }
    }

    #[test]
    fn a_block_is_turned() {
        let block = std::array::from_fn(|row| std::array::from_fn(|column| (row * SIDE + column) as f32));
        let mut turned = block;
        turn(&mut turned);
        assert!((0..SIDE).all(|row| (0..SIDE).all(|column| turned[column][row] == block[row][column])));
    }
}
