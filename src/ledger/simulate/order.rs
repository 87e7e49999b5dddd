//! A set of small numbers in an order, with each operation in constant time.

/// The link of a number that is not in the order.
const OUT: u32 = u32::MAX;

/// Some of the numbers below a limit, in the order in which they were added. A doubly linked list whose links lie in two
/// arrays; the number at the end of the arrays stands for both ends of the list.
#[derive(Clone, Debug)]
pub struct Order {
    next: Vec<u32>,
    before: Vec<u32>,
    length: u32,
}

impl Order {
    /// For numbers below `limit`, which is less than 2^32 - 1. None of them is in it.
    pub fn new(limit: u32) -> Order {
        let mut links = vec![OUT; limit as usize];
        links.push(limit);
        Order {
            next: links.clone(),
            before: links,
            length: 0,
        }
    }

    /// All numbers below `limit`, from 0 on.
    pub fn all(limit: u32) -> Order {
        let next = (1..=limit).chain([0]).collect();
        let before = [limit].into_iter().chain(0..limit).collect();
        Order {
            next,
            before,
            length: limit,
        }
    }

    pub fn len(&self) -> u32 {
        self.length
    }

    pub fn contains(&self, number: u32) -> bool {
        self.next[number as usize] != OUT
    }

    /// The first number behind `number`, or the first of all behind `None`.
    pub fn following(&self, number: Option<u32>) -> Option<u32> {
        let following = self.next[number.unwrap_or(self.ends()) as usize];
        Some(following).filter(|number| *number != self.ends())
    }

    /// Adds a number that is not in it, at the front.
    pub fn push_front(&mut self, number: u32) {
        self.insert_behind(self.ends(), number);
    }

    /// Adds a number that is not in it, at the back.
    pub fn push_back(&mut self, number: u32) {
        self.insert_behind(self.before[self.ends() as usize], number);
    }

    /// Takes a number out. False if it was not in it.
    pub fn remove(&mut self, number: u32) -> bool {
        if !self.contains(number) {
            return false;
        }
        let (before, next) = (self.before[number as usize], self.next[number as usize]);
        self.next[before as usize] = next;
        self.before[next as usize] = before;
        self.next[number as usize] = OUT;
        self.length -= 1;
        true
    }

    pub fn pop_front(&mut self) -> Option<u32> {
        let first = self.following(None)?;
        self.remove(first);
        Some(first)
    }

    fn ends(&self) -> u32 {
        self.next.len() as u32 - 1
    }

    fn insert_behind(&mut self, before: u32, number: u32) {
        debug_assert!(!self.contains(number));
        let next = self.next[before as usize];
        self.next[number as usize] = next;
        self.before[number as usize] = before;
        self.next[before as usize] = number;
        self.before[next as usize] = number;
        self.length += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn listed(order: &Order) -> Vec<u32> {
        std::iter::successors(order.following(None), |number| order.following(Some(*number))).collect()
    }

    #[test]
    fn all_numbers_are_there_from_0_on() {
        assert_eq!(listed(&Order::all(4)), [0, 1, 2, 3]);
        assert_eq!(listed(&Order::all(0)), [0; 0]);
    }

    proptest! {
        /// Against a list that is searched and shifted.
        #[test]
        fn it_keeps_the_order_of_a_plain_list(steps in prop::collection::vec((0_u32..4, 0_u32..8), 0..80)) {
            let mut order = Order::new(8);
            let mut list: VecDeque<u32> = VecDeque::new();
            for (step, number) in steps {
                let known = list.iter().position(|other| *other == number);
                match (step, known) {
                    (0, None) => {
                        order.push_back(number);
                        list.push_back(number);
                    }
                    (1, None) => {
                        order.push_front(number);
                        list.push_front(number);
                    }
                    (2, _) => prop_assert_eq!(order.pop_front(), list.pop_front()),
                    _ => {
                        prop_assert_eq!(order.remove(number), known.is_some());
                        known.map(|at| list.remove(at));
                    }
                }
                prop_assert_eq!(listed(&order), Vec::from(list.clone()));
                prop_assert_eq!(order.len() as usize, list.len());
            }
        }
    }
}
