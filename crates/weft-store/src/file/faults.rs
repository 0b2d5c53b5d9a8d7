//! A disk that fails on demand: full, read-only, torn by a crash, or with a sync that fails.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::error::StoreError;
use crate::medium::Medium;

/// What a disk writes at once: of less, no part is ever written without the rest.
const SECTOR_BYTES: usize = 512;

/// What a disk gives to a file at once.
const BLOCK_BYTES: usize = 4096;

/// A reproducible source of random numbers.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// SplitMix64. Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators".
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }
}

/// A handle on the disk; clones are handles on the same.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(Arc<Mutex<Faults>>);

/// The disk, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Faults {
    /// What can be read.
    cached: Vec<u8>,
    /// What a crash leaves in any case.
    durable: Vec<u8>,
    /// What a crash may leave, in part, or not.
    pending: Vec<Change>,
    /// After how many more changes and syncs the power goes.
    pub until_crash: Option<u64>,
    /// After how many more syncs one fails, after which its changes are taken for written.
    pub until_failed_sync: Option<u64>,
    /// How many blocks there are on the disk. Holes take none.
    pub blocks_max: Option<usize>,
    /// The blocks that were ever written to.
    blocks: BTreeSet<usize>,
    /// With what every change fails.
    pub failing: Option<io::ErrorKind>,
    /// It cannot be opened for writing.
    pub read_only: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

impl FaultyDisk {
    pub fn with(content: Vec<u8>) -> FaultyDisk {
        let disk = FaultyDisk::default();
        disk.faults().durable = content.clone();
        disk.faults().cached = content;
        disk
    }

    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn content(&self) -> Vec<u8> {
        self.faults().cached.clone()
    }

    /// The disk after the power came back: of what was not synced, any part may be there.
    pub fn crash(&self, dice: &mut Dice) -> FaultyDisk {
        let faults = self.faults();
        let mut left = faults.durable.clone();
        for change in &faults.pending {
            match change {
                _ if dice.below(3) == 0 => {}
                Change::Length(length) => left.resize(*length, 0),
                Change::Write { offset, data } if dice.below(3) > 0 => {
                    put(&mut left, *offset, data)
                }
                Change::Write { offset, data } => tear(&mut left, *offset, data, dice),
            }
        }
        FaultyDisk::with(left)
    }
}

/// Writes some sectors of `data`.
fn tear(left: &mut Vec<u8>, offset: usize, data: &[u8], dice: &mut Dice) {
    let mut from = 0;
    while from < data.len() {
        let sector_end = (offset + from) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES;
        let to = data.len().min(sector_end - offset);
        if dice.below(2) == 0 {
            put(left, offset + from, &data[from..to]);
        }
        from = to;
    }
}

fn put(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if content.len() < offset + data.len() {
        content.resize(offset + data.len(), 0);
    }
    content[offset..offset + data.len()].copy_from_slice(data);
}

impl Faults {
    /// Counts an operation towards the crash.
    fn step(&mut self) -> io::Result<()> {
        match &mut self.until_crash {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        if let Some(kind) = self.failing {
            return Err(kind.into());
        }
        self.step()?;
        self.take_room(&change)?;
        match &change {
            Change::Length(length) => self.cached.resize(*length, 0),
            Change::Write { offset, data } => put(&mut self.cached, *offset, data),
        }
        self.pending.push(change);
        Ok(())
    }

    /// Takes blocks for `change`, as many as there are.
    fn take_room(&mut self, change: &Change) -> io::Result<()> {
        match change {
            Change::Length(length) => self.blocks.retain(|block| block * BLOCK_BYTES < *length),
            Change::Write { offset, data } => {
                for block in offset / BLOCK_BYTES..(offset + data.len()).div_ceil(BLOCK_BYTES) {
                    let full = self.blocks_max.is_some_and(|max| self.blocks.len() >= max);
                    if full && !self.blocks.contains(&block) {
                        return Err(io::ErrorKind::StorageFull.into());
                    }
                    self.blocks.insert(block);
                }
            }
        }
        Ok(())
    }

    /// How many blocks the file takes.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.step()?;
        if let Some(left) = &mut self.until_failed_sync {
            if *left == 0 {
                self.until_failed_sync = None;
                // As Linux does: what could not be written is readable, and never tried again.
                self.pending.clear();
                return Err(io::Error::other("the sync failed"));
            }
            *left -= 1;
        }
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Length(length) => self.durable.resize(length, 0),
                Change::Write { offset, data } => put(&mut self.durable, offset, &data),
            }
        }
        Ok(())
    }
}

impl StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.faults().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("fits in memory");
        let faults = self.faults();
        let found = faults.cached.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults().change(Change::Length(usize::try_from(len).expect("fits in memory")))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults().sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("fits in memory");
        self.faults().change(Change::Write { offset, data: data.to_vec() })
    }
}

impl Medium for FaultyDisk {
    type Backend = FaultyDisk;

    fn path(&self) -> PathBuf {
        PathBuf::from("faulty.redb")
    }

    fn claim(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn backend(&self) -> io::Result<FaultyDisk> {
        if self.faults().read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(self.clone())
    }

    fn content(&self) -> io::Result<Vec<u8>> {
        Ok(FaultyDisk::content(self))
    }
}
