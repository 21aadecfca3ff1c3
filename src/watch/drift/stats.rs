//! Tails of the distributions that drift is tested by, on `libm`, so that they are the same on every machine.

/// Where series and continued fractions end; they take some dozen steps.
const MOST_STEPS: u32 = 500;
const PRECISE: f64 = 1e-14;
const TINY: f64 = 1e-300;

/// P(|Z| >= |z|) of a standard normal.
pub fn normal(z: f64) -> f64 {
    libm::erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// P(|T| >= |t|) of Student's t with `df` degrees of freedom: I(df / (df + t^2); df/2, 1/2) (DLMF 8.17, Abramowitz and Stegun 26.7.1).
pub fn student(t: f64, df: f64) -> f64 {
    beta(df / (df + t * t), 0.5 * df, 0.5)
}

/// P(X >= x) of a chi-squared with `df` degrees of freedom: Q(df/2, x/2) (Abramowitz and Stegun 26.4.19).
pub fn chi_squared(x: f64, df: f64) -> f64 {
    gamma(0.5 * df, 0.5 * x)
}

/// The regularised incomplete beta function (DLMF 8.17.22).
fn beta(x: f64, a: f64, b: f64) -> f64 {
    if x.is_nan() || x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges fast on this side.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta(1.0 - x, b, a);
    }
    let front = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * libm::log(x) + b * libm::log1p(-x);
    libm::exp(front) * beta_fraction(x, a, b) / a
}

/// Lentz's way of evaluating it.
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    let kept = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut c, mut d) = (1.0, 1.0 / kept(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for step in 1..=MOST_STEPS {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / kept(1.0 + term * d);
            c = kept(1.0 + term / c);
            change = c * d;
            fraction *= change;
        }
        if (change - 1.0).abs() < PRECISE {
            break;
        }
    }
    fraction
}

/// The upper regularised incomplete gamma function: a series (DLMF 8.7.1) below, a continued fraction (DLMF 8.9.2) above.
fn gamma(a: f64, x: f64) -> f64 {
    if x.is_nan() || x <= 0.0 {
        return 1.0;
    }
    let front = libm::exp(a * libm::log(x) - x - libm::lgamma(a));
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for step in 1..=MOST_STEPS {
            term *= x / (a + f64::from(step));
            sum += term;
            if term < sum * PRECISE {
                break;
            }
        }
        return (1.0 - front * sum).clamp(0.0, 1.0);
    }
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / TINY, 1.0 / b);
    let mut fraction = d;
    for step in 1..=MOST_STEPS {
        let n = f64::from(step);
        let term = -n * (n - a);
        b += 2.0;
        d = 1.0 / (term * d + b);
        c = b + term / c;
        let change = c * d;
        fraction *= change;
        if (change - 1.0).abs() < PRECISE {
            break;
        }
    }
    front * fraction
}

#[cfg(test)]
mod tests {
    use statrs::distribution::{ChiSquared, ContinuousCDF as _, Normal, StudentsT};

    use super::*;

    fn is_near(ours: f64, theirs: f64) -> bool {
        (ours - theirs).abs() <= 1e-9 * theirs.max(1e-12) + 1e-15 || (ours / theirs - 1.0).abs() < 1e-6
    }

    #[test]
    fn tails_are_those_of_another_library() {
        let standard = Normal::new(0.0, 1.0).unwrap();
        for step in 0..=60 {
            let x = f64::from(step) * 0.1;
            assert!(is_near(normal(-x), 2.0 * standard.sf(x)), "{x}");
            for df in [1.0, 2.0, 5.0, 19.0, 200.0] {
                let theirs = 2.0 * StudentsT::new(0.0, 1.0, df).unwrap().sf(x);
                assert!(is_near(student(x, df), theirs), "t = {x}, {df}: {} {theirs}", student(x, df));
                let theirs = ChiSquared::new(df).unwrap().sf(x * 10.0);
                assert!(is_near(chi_squared(x * 10.0, df), theirs), "x = {x}, {df}: {} {theirs}", chi_squared(x * 10.0, df));
            }
        }
        assert_eq!((student(0.0, 3.0), chi_squared(0.0, 3.0), normal(0.0)), (1.0, 1.0, 1.0));
    }
}
