//! Pictures that were drawn lately: all receivers of a revision get the same one, and drawing is most of what a mail costs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::hash::hash128;

/// Of some 15 kB each. Letters about one revision go out one after the other, or nearly.
const KEPT: usize = 64;

/// Empty until it is drawn. Who comes meanwhile waits for it instead of drawing it too.
type Place = Arc<Mutex<Option<Arc<Vec<u8>>>>>;

/// PNGs by the hash of the SVG that they were drawn from; the last one is at the end.
#[derive(Default)]
pub struct Drawn(Mutex<VecDeque<(u128, Place)>>);

impl Drawn {
    /// # Errors
    /// As `draw` has it; then the next one tries again.
    pub fn png<E>(&self, svg: &str, draw: impl FnOnce(&str) -> Result<Vec<u8>, E>) -> Result<Arc<Vec<u8>>, E> {
        let place = self.place(hash128(&[svg.as_bytes()]));
        let mut png = lock(&place);
        if let Some(png) = &*png {
            return Ok(Arc::clone(png));
        }
        let drawn = Arc::new(draw(svg)?);
        *png = Some(Arc::clone(&drawn));
        Ok(drawn)
    }

    fn place(&self, key: u128) -> Place {
        let mut places = lock(&self.0);
        if let Some((_, place)) = places.iter().find(|(known, _)| *known == key) {
            return Arc::clone(place);
        }
        if places.len() == KEPT {
            places.pop_front();
        }
        let place = Place::default();
        places.push_back((key, Arc::clone(&place)));
        place
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn each_picture_is_drawn_once_while_it_is_remembered() {
        let (drawn, times) = (Drawn::default(), Cell::new(0));
        let draw = |svg: &str| {
            drawn.png(svg, |svg| {
                times.set(times.get() + 1);
                if svg == "bad" { Err(()) } else { Ok(svg.as_bytes().to_vec()) }
            })
        };
        assert_eq!(
            (draw("a").unwrap().as_slice(), draw("b").unwrap().as_slice(), draw("a").unwrap().as_slice()),
            (&b"a"[..], &b"b"[..], &b"a"[..])
        );
        assert_eq!(times.get(), 2);
        assert_eq!((draw("bad"), draw("bad"), times.get()), (Err(()), Err(()), 4), "what failed is tried again");
        (0..KEPT).for_each(|number| drop(draw(&number.to_string())));
        draw("a").unwrap();
        assert_eq!(times.get(), 4 + KEPT + 1, "long ago: drawn again");
    }
}
