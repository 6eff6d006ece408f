//! What a call came to that nobody took: one final status from many, and the words for it.

use cheling_model::{EndCause, Withdrawal};

/// The final status for the caller from those of all phones (compare RFC 3261 §16.7 step 6).
///
/// A phone that is busy or was rejected by a person says more than one that did not answer, which
/// says more than one that failed.
pub fn best(statuses: impl IntoIterator<Item = u16>) -> u16 {
    statuses.into_iter().min_by_key(|status| rank(*status)).map_or(480, to_caller)
}

fn rank(status: u16) -> (u8, u16) {
    let class = match status {
        486 | 600 => 0,
        603 | 607 | 608 => 1,
        480 | 408 | 487 => 2,
        404 | 410 | 484 | 604 => 3,
        400..500 => 4,
        601..700 => 5,
        _ => 6,
    };
    (class, status)
}

/// What a status of one side means to the other: not all may cross.
fn to_caller(status: u16) -> u16 {
    match status {
        // Where we failed to authenticate or got lost is none of the caller's business.
        401 | 407 | 482 | 483 => 502,
        // We follow no redirection.
        300..=399 => 480,
        // Our own clock gave up on the phone, or no flow of it leads there: it is not there.
        408 | 430 => 480,
        // Only CANCEL may lead to 487 there.
        487 => 480,
        100..=299 => 500,
        status => status,
    }
}

/// The cause of an end without an answer.
pub fn cause(status: u16) -> EndCause {
    match status {
        486 | 600 => EndCause::Busy,
        603 | 607 | 608 => EndCause::Declined,
        480 | 408 => EndCause::NoAnswer,
        404 | 410 | 484 | 604 => EndCause::NotFound,
        487 => EndCause::Cancelled,
        _ => EndCause::Failed,
    }
}

/// Why a phone that answered with this status stopped ringing.
pub fn withdrawal(status: u16) -> Withdrawal {
    match status {
        486 | 600 => Withdrawal::Busy,
        603 | 607 | 608 => Withdrawal::Declined,
        status => Withdrawal::Failed { status },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_many_answers_is_the_one_a_person_gave() {
        for (statuses, want) in [
            (&[486, 603, 480][..], 486),
            (&[603, 480], 603),
            (&[408, 503], 480),
            (&[503], 503),
            (&[404, 480], 480),
            (&[407], 502),
            (&[302], 480),
            (&[], 480),
        ] {
            assert_eq!(best(statuses.iter().copied()), want, "{statuses:?}");
        }
    }
}
