//! Vehicle identification numbers (ISO 3779, GB 16735).

/// The check digit that stands in the ninth place; none if the text is not 17 of the letters and
/// digits that a VIN may have. The ninth itself is not looked at.
pub fn vin_check_digit(vin: &str) -> Option<char> {
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    if vin.len() != WEIGHTS.len() {
        return None;
    }
    let mut sum = 0;
    for (c, weight) in vin.bytes().zip(WEIGHTS) {
        sum += value(c)? * weight;
    }
    match sum % 11 {
        10 => Some('X'),
        rest => char::from_digit(rest, 10),
    }
}

/// Whether a text is a VIN with a right check digit. Makers for Europe do not use it: a wrong one
/// is no reason to refuse a vehicle.
pub fn is_vin(vin: &str) -> bool {
    vin_check_digit(vin).is_some_and(|check| vin.chars().nth(8) == Some(check))
}

fn value(c: u8) -> Option<u32> {
    Some(match c {
        b'0'..=b'9' => u32::from(c - b'0'),
        b'A'..=b'H' => u32::from(c - b'A') + 1,
        b'J'..=b'N' => u32::from(c - b'J') + 1,
        b'P' => 7,
        b'R' => 9,
        b'S'..=b'Z' => u32::from(c - b'S') + 2,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_digit_is_that_of_the_standard() {
        assert!(is_vin("1M8GDM9AXKP042788"));
        assert!(is_vin("11111111111111111"));
        for wrong in ["1M8GDM9A1KP042788", "1M8GDM9AXKP04278", "IM8GDM9AXKP042788", "", "车"] {
            assert!(!is_vin(wrong), "{wrong}");
        }
    }
}
