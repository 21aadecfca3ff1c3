//! The real part of the demo: requests and tokens per 10 minutes of twelve tenants, out of ServeGen (data/README.md).

use anyhow::{Context as _, Result};

const EXTRACT: &[u8] = include_bytes!("data/servegen.csv.zst");

/// 10 minutes of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    pub tenant: usize,
    /// Number of the 10 minutes since the beginning.
    pub bucket: usize,
    pub requests: u64,
    /// Mean tokens per request.
    pub input_tokens: u64,
    pub output_tokens: u64,
}

pub const TENANTS: usize = 12;
pub const DAYS: usize = 14;
pub const BUCKETS_PER_HOUR: usize = 6;
pub const BUCKETS_PER_DAY: usize = 24 * BUCKETS_PER_HOUR;
pub const BUCKETS: usize = DAYS * BUCKETS_PER_DAY;

/// All of it, ordered by time, then by tenant.
///
/// # Errors
/// The extract is not what `scripts/demo_data.py` makes.
pub fn load() -> Result<Vec<Traffic>> {
    let text = zstd::decode_all(EXTRACT).context("cannot unpack the demo's data")?;
    let text = String::from_utf8(text).context("the demo's data is no text")?;
    let rows = text.lines().enumerate().skip(1);
    let mut traffic: Vec<Traffic> = rows
        .map(|(line, row)| parse(row).with_context(|| format!("line {} of the demo's data: '{row}'", line + 1)))
        .collect::<Result<_>>()?;
    traffic.sort_by_key(|row| (row.bucket, row.tenant));
    Ok(traffic)
}

fn parse(row: &str) -> Option<Traffic> {
    let mut fields = row.split(',').map(|field| field.parse::<u64>().ok());
    let mut next = || fields.next().flatten();
    let (tenant, bucket) = (usize::try_from(next()?).ok()?, usize::try_from(next()?).ok()?);
    let traffic = Traffic { tenant, bucket, requests: next()?, input_tokens: next()?, output_tokens: next()? };
    (tenant < TENANTS && bucket < BUCKETS).then_some(traffic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tenant_is_there_almost_all_the_time() {
        let traffic = load().unwrap();
        for tenant in 0..TENANTS {
            let active = traffic.iter().filter(|row| row.tenant == tenant).count();
            assert!(active > BUCKETS * 9 / 10, "tenant {tenant}: {active}");
        }
        assert!(traffic.is_sorted_by_key(|row| (row.bucket, row.tenant)));
    }

    #[test]
    fn rows_that_make_no_sense_are_refused() {
        assert_eq!(parse("3,7,10,20,30").map(|row| (row.tenant, row.bucket, row.output_tokens)), Some((3, 7, 30)));
        for bad in ["", "3,7,10,20", "3,7,ten,20,30", "12,0,1,1,1", "0,2016,1,1,1", "0,-1,1,1,1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
