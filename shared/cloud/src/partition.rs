//! Which DNS suffix a region's endpoints have: AWS is split into partitions that share nothing.
//!
//! The suffixes are those that aws-iam-authenticator accepts for STS; EC2 and EventBridge use
//! the same ones.

/// Region prefixes of the partitions other than `aws` and `aws-us-gov`, with their DNS suffix.
const SUFFIXES: [(&str, &str); 7] = [
    ("cn-", "amazonaws.com.cn"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isof-", "csp.hci.ic.gov"),
    ("eusc-", "amazonaws.eu"),
];

/// The DNS suffix of a region's endpoints, without a dot in front: `amazonaws.com` for most.
pub(crate) fn dns_suffix(region: &str) -> &'static str {
    let known = SUFFIXES.iter().find(|(prefix, _)| region.starts_with(prefix));
    known.map_or("amazonaws.com", |(_, suffix)| suffix)
}

#[cfg(test)]
mod tests {
    use super::dns_suffix;

    #[test]
    fn each_partition_has_its_suffix() {
        let rows = [
            ("eu-central-1", "amazonaws.com"),
            ("us-gov-west-1", "amazonaws.com"),
            ("cn-northwest-1", "amazonaws.com.cn"),
            ("us-iso-east-1", "c2s.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov"),
            ("eu-isoe-west-1", "cloud.adc-e.uk"),
            ("us-isof-south-1", "csp.hci.ic.gov"),
            ("eusc-de-east-1", "amazonaws.eu"),
        ];
        for (region, suffix) in rows {
            assert_eq!(dns_suffix(region), suffix, "{region}");
        }
    }
}
