//! The engine's own cache: vLLM's pool of KV blocks (`vllm/v1/core/block_pool.py`, full attention), without its block 0,
//! which vLLM never hands out.

use super::order::Order;

/// No name, no block.
const NONE: u32 = u32::MAX;

/// Blocks are numbered, and so are the prefixes that they hold (see [`super::prompts::Entry`]). A name stays with a block
/// that nobody uses until the block is taken for something else. Names are numbers, so a lookup is one access.
#[derive(Clone, Debug)]
pub struct Hbm {
    /// Blocks that nobody uses. The front is taken first.
    free: Order,
    users: Vec<u32>,
    /// The name of each block.
    names: Vec<u32>,
    /// The first block with a name, and for each block the next and the one before with the same name, in a ring. Several
    /// requests that compute the same prefix each have blocks of their own.
    first: Vec<u32>,
    next_alike: Vec<u32>,
    before_alike: Vec<u32>,
    /// When the last block with a name was taken for something else; 0 if that never happened.
    lost_at: Vec<u64>,
    losses: u64,
}

impl Hbm {
    /// A pool of `blocks` empty blocks for names below `names`.
    pub fn new(blocks: u32, names: u32) -> Hbm {
        let (of_blocks, of_names) = (blocks as usize, names as usize);
        Hbm {
            free: Order::all(blocks),
            users: vec![0; of_blocks],
            names: vec![NONE; of_blocks],
            first: vec![NONE; of_names],
            next_alike: vec![NONE; of_blocks],
            before_alike: vec![NONE; of_blocks],
            lost_at: vec![0; of_names],
            losses: 0,
        }
    }

    /// How many of the names are there, from the first on without a gap.
    pub fn find(&self, names: &[u32]) -> usize {
        let found = names.iter().take_while(|name| self.first[**name as usize] != NONE);
        found.count()
    }

    /// Whether a request of `blocks` blocks can start now that finds those named `found`.
    pub fn fits(&self, found: &[u32], blocks: usize) -> bool {
        let in_use = found.iter().filter(|name| self.users[self.block(**name)] > 0);
        blocks - in_use.count() <= self.free.len() as usize
    }

    /// Takes the blocks named `found`, and others until there are `blocks` of them. Call it only if they fit.
    pub fn take(&mut self, found: &[u32], blocks: usize, now: u64) -> Vec<u32> {
        let mut taken = Vec::with_capacity(blocks);
        for name in found {
            let block = self.block(*name);
            self.users[block] += 1;
            self.free.remove(block as u32);
            taken.push(block as u32);
        }
        self.grow(&mut taken, blocks, now);
        taken
    }

    /// Takes blocks from the front of the free ones until there are `blocks`, or none is left.
    pub fn grow(&mut self, taken: &mut Vec<u32>, blocks: usize, now: u64) {
        while taken.len() < blocks
            && let Some(block) = self.free.pop_front()
        {
            self.users[block as usize] = 1;
            self.forget(block, now);
            taken.push(block);
        }
    }

    /// Names blocks, in order. Those with a name keep it.
    pub fn name(&mut self, blocks: &[u32], names: &[u32]) {
        for (block, name) in blocks.iter().zip(names) {
            if self.names[*block as usize] == NONE {
                self.names[*block as usize] = *name;
                self.join(*block, *name);
            }
        }
    }

    /// Ends the use of blocks. The last ones of a prompt will be taken first, and those without a name before all others.
    pub fn release(&mut self, blocks: &[u32]) {
        let mut unnamed = Vec::new();
        for block in blocks.iter().rev() {
            let users = &mut self.users[*block as usize];
            *users -= 1;
            if *users > 0 {
                continue;
            }
            match self.names[*block as usize] {
                NONE => unnamed.push(*block),
                _ => self.free.push_back(*block),
            }
        }
        for block in unnamed.into_iter().rev() {
            self.free.push_front(block);
        }
    }

    /// When the name was last lost, if it ever was there.
    pub fn lost_at(&self, name: u32) -> Option<u64> {
        Some(self.lost_at[name as usize]).filter(|at| *at > 0)
    }

    /// Names that were lost so far.
    pub fn losses(&self) -> u64 {
        self.losses
    }

    /// The block with a name that is there.
    fn block(&self, name: u32) -> usize {
        self.first[name as usize] as usize
    }

    fn join(&mut self, block: u32, name: u32) {
        let first = self.first[name as usize];
        let (before, next) = match first {
            NONE => (block, block),
            _ => (self.before_alike[first as usize], first),
        };
        self.next_alike[before as usize] = block;
        self.before_alike[next as usize] = block;
        self.next_alike[block as usize] = next;
        self.before_alike[block as usize] = before;
        if first == NONE {
            self.first[name as usize] = block;
        }
    }

    fn forget(&mut self, block: u32, now: u64) {
        let name = std::mem::replace(&mut self.names[block as usize], NONE);
        if name == NONE {
            return;
        }
        let (next, before) = (self.next_alike[block as usize], self.before_alike[block as usize]);
        self.next_alike[before as usize] = next;
        self.before_alike[next as usize] = before;
        let first = &mut self.first[name as usize];
        if next == block {
            *first = NONE;
            self.lost_at[name as usize] = now;
            self.losses += 1;
        } else if *first == block {
            *first = next;
        }
    }
}
