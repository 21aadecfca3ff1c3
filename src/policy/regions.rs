//! Which country a cloud region lies in, and which blocs that country belongs to.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The 27 members of the European Union.
const EU: [&str; 27] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL",
    "PT", "RO", "SE", "SI", "SK",
];
/// Of the European Economic Area, beside the Union.
const EEA_BESIDE: [&str; 3] = ["IS", "LI", "NO"];
/// Asia as the United Nations count it (M49, region 142), as far as clouds have regions there; HK and TW are counted by themselves.
const ASIA: [&str; 16] = ["AE", "BH", "CN", "HK", "ID", "IL", "IN", "JP", "KR", "MY", "PH", "QA", "SA", "SG", "TH", "TW"];

/// ISO 3166-1 alpha-2, all officially assigned codes, and EU, which stands for data that may be anywhere in the Union.
const COUNTRIES: &str = "EU \
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD \
    CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF \
    GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN \
    KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA \
    NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI \
    SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI \
    VN VU WF WS YE YT ZA ZM ZW";

/// Where data in a region lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Land {
    /// ISO 3166-1 alpha-2.
    pub country: String,
    pub blocs: Vec<&'static str>,
}

#[derive(Clone, Debug, Default)]
pub struct Regions {
    /// `None`: it spans several countries.
    by_region: BTreeMap<String, Option<Arc<Land>>>,
    /// Provider and name of each region, in the order of the table.
    names: Vec<(String, String)>,
    by_country: BTreeMap<&'static str, Arc<Land>>,
}

/// Services that run in the regions of a cloud under another name.
const CLOUD_OF: [(&str, &str); 6] =
    [("bedrock", "aws"), ("amazon", "aws"), ("vertex", "gcp"), ("google", "gcp"), ("microsoft", "azure"), ("foundry", "azure")];

impl Regions {
    /// From lines `provider,region,country`; `#` begins a comment.
    ///
    /// # Errors
    /// The number of the line and what is wrong with it.
    pub fn parse(table: &str) -> Result<Regions, (usize, String)> {
        let (mut by_region, mut names) = (BTreeMap::new(), Vec::new());
        for (number, line) in table.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') || line == "provider,region,country" {
                continue;
            }
            let wrong = |what: &str| (number + 1, format!("{what}; a line is provider,region,country: aws,eu-central-1,DE"));
            let [provider, region, country] = line.split(',').map(str::trim).collect::<Vec<_>>()[..] else {
                return Err(wrong("not three values"));
            };
            let is_country = country.len() == 2 && country.bytes().all(|letter| letter.is_ascii_uppercase());
            if region.is_empty() || !(country.is_empty() || is_country) {
                return Err(wrong("no region, or a country that is not two capital letters"));
            }
            names.push((provider.to_string(), region.to_string()));
            let land = is_country.then(|| Arc::new(Land { country: country.to_string(), blocs: blocs(country) }));
            if by_region.insert(key(region), land.clone()).is_some_and(|before| before != land) {
                return Err(wrong("the region stands here twice, in different countries"));
            }
        }
        let land = |country: &'static str| (country, Arc::new(Land { country: country.to_string(), blocs: blocs(country) }));
        Ok(Regions { by_region, names, by_country: COUNTRIES.split_whitespace().map(land).collect() })
    }

    /// Of a region, or of a country in capital letters: origins of data are often no closer known. `None`: unknown, or in several countries.
    pub fn land(&self, region: &str) -> Option<&Land> {
        self.find(region).map(AsRef::as_ref)
    }

    /// As [`Regions::land`], for keeps.
    pub fn shared(&self, region: &str) -> Option<Arc<Land>> {
        self.find(region).cloned()
    }

    fn find(&self, region: &str) -> Option<&Arc<Land>> {
        self.by_country.get(region).or_else(|| self.by_region.get(&key(region))?.as_ref())
    }

    /// Other regions of the same cloud, the nearest first: of the same country, then of a bloc that both belong to, then all others.
    /// Where the cloud is not known, it is told by the region.
    pub fn nearest(&self, provider: &str, region: &str) -> Vec<String> {
        let cloud = CLOUD_OF.iter().find(|(service, _)| *service == provider).map_or(provider, |(_, cloud)| cloud);
        let is_cloud = |cloud: &str| self.names.iter().any(|(known, _)| known == cloud);
        let by_region = self.names.iter().find(|(_, name)| key(name) == key(region)).map(|(cloud, _)| cloud.as_str());
        let Some(cloud) = Some(cloud).filter(|cloud| is_cloud(cloud)).or(by_region) else { return Vec::new() };
        let here = self.land(region);
        let distance = |name: &str| match (here, self.land(name)) {
            (Some(here), Some(there)) if here.country == there.country => 0,
            (Some(here), Some(there)) if there.blocs.iter().any(|bloc| here.blocs.contains(bloc)) => 1,
            (_, Some(_)) => 2,
            (_, None) => 3,
        };
        let mut others: Vec<&str> =
            self.names.iter().filter(|(of, name)| of == cloud && name != region).map(|(_, name)| name.as_str()).collect();
        others.sort_by_key(|name| (distance(name), *name));
        others.into_iter().map(str::to_string).collect()
    }

    pub fn len(&self) -> usize {
        self.by_region.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_region.is_empty()
    }
}

/// "West Europe" is westeurope, and a zone lies in its region: eu-central-1a, europe-west3-c.
fn key(region: &str) -> String {
    let mut key: String = region.chars().filter(|letter| !letter.is_whitespace()).collect::<String>().to_ascii_lowercase();
    let zone = match key.as_bytes() {
        [.., digit, b'-', zone] if digit.is_ascii_digit() && zone.is_ascii_lowercase() => 2,
        [.., digit, zone] if digit.is_ascii_digit() && zone.is_ascii_lowercase() && key.contains('-') => 1,
        _ => 0,
    };
    key.truncate(key.len() - zone);
    key
}

/// Of a country: ASIA, EEA, EU.
fn blocs(country: &str) -> Vec<&'static str> {
    let is_eu = country == "EU" || EU.contains(&country);
    let is_in = [("ASIA", ASIA.contains(&country)), ("EEA", is_eu || EEA_BESIDE.contains(&country)), ("EU", is_eu)];
    is_in.into_iter().filter(|(_, is)| *is).map(|(bloc, _)| bloc).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Regions {
        Regions::parse(include_str!("../../config/regions.csv")).unwrap()
    }

    #[test]
    fn regions_lie_where_they_lie_and_not_where_their_names_say() {
        let regions = shipped();
        for (region, country, blocs) in [
            ("eu-central-1", "DE", &["EEA", "EU"][..]),
            ("eu-central-1a", "DE", &["EEA", "EU"]),
            ("europe-west3-c", "DE", &["EEA", "EU"]),
            ("eu-west-2", "GB", &[]),
            ("eu-central-2", "CH", &[]),
            ("europe-west6", "CH", &[]),
            ("norwayeast", "NO", &["EEA"]),
            ("Norway East", "NO", &["EEA"]),
            ("eusc-de-east-1", "DE", &["EEA", "EU"]),
            ("u-germany-northeast1", "DE", &["EEA", "EU"]),
            ("u-france-east1-a", "FR", &["EEA", "EU"]),
            ("ukwest", "GB", &[]),
            ("usgovvirginia", "US", &[]),
            ("chinanorth3", "CN", &["ASIA"]),
            ("ap-southeast-6", "NZ", &[]),
            ("ap-east-1", "HK", &["ASIA"]),
            ("westeurope", "NL", &["EEA", "EU"]),
            ("me-central2", "SA", &["ASIA"]),
            ("us-gov-west-1", "US", &[]),
        ] {
            let land = regions.land(region).unwrap_or_else(|| panic!("{region}"));
            assert_eq!((land.country.as_str(), land.blocs.as_slice()), (country, blocs), "{region}");
        }
        for several in ["global", "aws-global", "eu", "us", "asia"] {
            assert_eq!(regions.land(several), None, "{several} is in several countries");
        }
        assert_eq!(regions.land("eu-centrall-1"), None);
        assert!(regions.len() >= 170);
    }

    /// As recorded, with source and date, in tests/data/regions.
    #[test]
    fn every_region_that_aws_names_is_known_sovereign_partitions_included() {
        let (regions, listed) = (shipped(), include_str!("../../tests/data/regions/aws.csv"));
        let mut partitions: BTreeMap<&str, usize> = BTreeMap::new();
        for line in listed.lines().skip(2) {
            let [partition, region, description] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
            *partitions.entry(partition).or_default() += 1;
            assert!(
                regions.names.iter().any(|(cloud, name)| cloud == "aws" && name == region),
                "{region} ({description}) is not in the table"
            );
            let country = match partition {
                _ if region.ends_with("-global") => None,
                "aws-cn" => Some("CN"),
                "aws-eusc" => Some("DE"),
                "aws-us-gov" | "aws-iso" | "aws-iso-b" | "aws-iso-f" => Some("US"),
                "aws-iso-e" => Some("GB"),
                _ => Some(regions.land(region).unwrap_or_else(|| panic!("{region} lies nowhere")).country.as_str()),
            };
            assert_eq!(regions.land(region).map(|land| land.country.as_str()), country, "{region}");
        }
        assert_eq!((partitions.len(), partitions.values().sum::<usize>()), (8, 55));
    }

    #[test]
    fn the_nearest_other_region_comes_first() {
        let regions = shipped();
        assert_eq!(regions.nearest("aws", "eu-central-1")[..2], ["eusc-de-east-1", "eu-north-1"]);
        assert_eq!(regions.nearest("vertex", "europe-west3")[0], "europe-west10");
        assert_eq!(regions.nearest("openai", "westeurope")[0], "austriaeast", "told by the region");
        assert_eq!(regions.nearest("openai", "nowhere"), [""; 0]);
        assert!(!regions.nearest("aws", "eu-central-1").contains(&"eu-central-1".to_owned()));
    }

    #[test]
    fn a_line_that_says_nothing_is_named() {
        for (table, line) in [("aws,x", 1), ("#\naws,x,Germany", 2), ("aws,,DE", 1), ("aws,x,DE\ngcp,x,FR", 2)] {
            assert_eq!(Regions::parse(table).unwrap_err().0, line, "{table}");
        }
        assert!(Regions::parse("aws,x,DE\nother,x,DE").is_ok());
    }
}
