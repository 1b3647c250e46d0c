//! Small numbers for what many schedules share.

use super::pool::number;

/// Values by their numbers, each with how often it is held. A number is used again for another value once nothing holds it.
pub(super) struct Numbered<T> {
    held: Vec<(Option<T>, usize)>,
    free: Vec<u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { held: Vec::new(), free: Vec::new() }
    }
}

impl<T> Numbered<T> {
    /// Adds a value, held once. Returns its number.
    pub fn add(&mut self, value: T) -> u32 {
        let held = (Some(value), 1);
        match self.free.pop() {
            Some(number) => {
                self.held[number as usize] = held;
                number
            }
            None => {
                self.held.push(held);
                number(self.held.len() - 1)
            }
        }
    }

    /// Holds a number once more.
    pub fn hold(&mut self, number: u32) {
        if let Some((_, count)) = self.held.get_mut(number as usize) {
            *count += 1;
        }
    }

    /// Holds a number one time less. Returns its value if nothing holds it any more.
    pub fn release(&mut self, number: u32) -> Option<T> {
        let (value, count) = self.held.get_mut(number as usize)?;
        *count = count.saturating_sub(1);
        let value = value.take_if(|_| *count == 0)?;
        self.free.push(number);
        Some(value)
    }

    /// The value of a number.
    pub fn get(&self, number: u32) -> Option<&T> {
        self.held.get(number as usize)?.0.as_ref()
    }

    /// One more than the highest number.
    pub fn end(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
impl<T> Numbered<T> {
    /// How many numbers are held.
    pub fn len(&self) -> usize {
        self.held.len() - self.free.len()
    }
}
