//! Names for containers that were given none: an adjective and an island.

/// Words of weather and sea.
const ADJECTIVES: &[&str] = &[
    "amber", "ancient", "autumn", "balmy", "blue", "breezy", "bright", "calm", "chalky", "clear", "coastal", "copper",
    "coral", "crisp", "dappled", "dawn", "deep", "distant", "drifting", "dusky", "eastern", "emerald", "even",
    "evening", "faint", "fair", "far", "foggy", "fresh", "frosty", "gentle", "golden", "granite", "green", "grey",
    "hazy", "hidden", "high", "icy", "ivory", "lone", "lucid", "misty", "mossy", "northern", "open", "pale", "quiet",
    "rainy", "rocky", "rolling", "salty", "sandy", "serene", "silver", "small", "snowy", "southern", "sunny", "tidal",
    "violet", "western", "windy", "wooded",
];

/// Islands of the world, one word each.
const ISLANDS: &[&str] = &[
    "aegina",
    "aland",
    "amrum",
    "andros",
    "anglesey",
    "antigua",
    "aran",
    "arran",
    "aruba",
    "ascension",
    "aurigny",
    "bali",
    "barbados",
    "bermuda",
    "bohol",
    "bonaire",
    "borkum",
    "bornholm",
    "borneo",
    "bute",
    "capri",
    "cebu",
    "chios",
    "corfu",
    "corsica",
    "cozumel",
    "crete",
    "curacao",
    "cyprus",
    "delos",
    "dominica",
    "elba",
    "eigg",
    "faro",
    "fiji",
    "fogo",
    "fohr",
    "gotland",
    "gozo",
    "grenada",
    "guam",
    "guernsey",
    "hiiumaa",
    "hven",
    "hydra",
    "ibiza",
    "iona",
    "ischia",
    "islay",
    "java",
    "jersey",
    "juist",
    "jura",
    "kauai",
    "kos",
    "lanai",
    "langeoog",
    "lesbos",
    "leyte",
    "lundy",
    "luzon",
    "madeira",
    "malta",
    "maui",
    "milos",
    "mljet",
    "molokai",
    "moorea",
    "mull",
    "naxos",
    "niue",
    "oahu",
    "oland",
    "orkney",
    "palau",
    "paros",
    "patmos",
    "pico",
    "rhodes",
    "rugen",
    "saaremaa",
    "samoa",
    "samos",
    "sark",
    "skye",
    "staffa",
    "sylt",
    "tahiti",
    "tasmania",
    "texel",
    "tinos",
    "tobago",
    "tonga",
    "usedom",
    "visby",
    "wight",
];

/// A name from random bytes; with `number`, one that hardly anything has.
pub fn generate(random: [u8; 8], number: bool) -> String {
    let [a, b, c, d, e, f, ..] = random;
    let adjective = ADJECTIVES[usize::from(u16::from_le_bytes([a, b])) % ADJECTIVES.len()];
    let island = ISLANDS[usize::from(u16::from_le_bytes([c, d])) % ISLANDS.len()];
    if number {
        format!("{adjective}_{island}_{}", u16::from_le_bytes([e, f]))
    } else {
        format!("{adjective}_{island}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_generated_name_is_a_name() {
        let mut all: Vec<&str> = ADJECTIVES.iter().chain(ISLANDS).copied().collect();
        assert!(all.iter().all(|word| word.bytes().all(|b| b.is_ascii_lowercase())));
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
        for n in 0..=255 {
            assert!(generate([n; 8], n % 2 == 0).parse::<holm_spec::Name>().is_ok());
        }
    }
}
