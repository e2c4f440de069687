//! Medians and ratios. Averages hide what a busy machine did, so there are none.

/// The middle of `samples`, the upper one of two; 0 when there are none.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// The widest distance between two of `samples`, as a share of their median.
pub(crate) fn spread(samples: &[f64]) -> f64 {
    let lowest = samples.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = samples.iter().copied().fold(0.0, f64::max);
    ratio(highest - lowest, median(samples))
}

/// `a / b`, 0 when `b` was not measured.
pub(crate) fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_whatever_the_order() {
        assert!((median(&[9.0, 1.0, 5.0]) - 5.0).abs() < f64::EPSILON);
        assert!((median(&[]) - 0.0).abs() < f64::EPSILON);
    }

    #[test]
    fn spread_is_a_share_of_the_median() {
        assert!((spread(&[8.0, 12.0, 10.0]) - 0.4).abs() < f64::EPSILON);
        assert!((spread(&[7.0]) - 0.0).abs() < f64::EPSILON);
        assert!((spread(&[]) - 0.0).abs() < f64::EPSILON);
    }

    #[test]
    fn ratio_to_nothing_is_zero() {
        assert!((ratio(3.0, 0.0) - 0.0).abs() < f64::EPSILON);
        assert!((ratio(3.0, 2.0) - 1.5).abs() < f64::EPSILON);
    }
}
