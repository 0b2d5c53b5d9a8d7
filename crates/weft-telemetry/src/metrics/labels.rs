//! What a record says, as values of labels: from sets that no caller can enlarge.

use std::borrow::Cow;
use std::sync::Arc;

/// The value of a label. Empty: the label is left out.
pub(crate) type Label = Cow<'static, str>;

/// The values of the labels of a series, in the order of its family.
pub(crate) type Labels = Arc<[Label]>;

/// The value of what is not counted by itself.
pub(crate) const OTHER: &str = "other";

/// The status codes that have a label of their own: the registered ones, and 499, which Weft
/// records if the caller went away.
///
/// Source: IANA, HTTP Status Code Registry.
const STATUSES: &[(u16, &str)] = &[
    (100, "100"),
    (101, "101"),
    (102, "102"),
    (103, "103"),
    (104, "104"),
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (203, "203"),
    (204, "204"),
    (205, "205"),
    (206, "206"),
    (207, "207"),
    (208, "208"),
    (226, "226"),
    (300, "300"),
    (301, "301"),
    (302, "302"),
    (303, "303"),
    (304, "304"),
    (305, "305"),
    (307, "307"),
    (308, "308"),
    (400, "400"),
    (401, "401"),
    (402, "402"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (406, "406"),
    (407, "407"),
    (408, "408"),
    (409, "409"),
    (410, "410"),
    (411, "411"),
    (412, "412"),
    (413, "413"),
    (414, "414"),
    (415, "415"),
    (416, "416"),
    (417, "417"),
    (421, "421"),
    (422, "422"),
    (423, "423"),
    (424, "424"),
    (425, "425"),
    (426, "426"),
    (428, "428"),
    (429, "429"),
    (431, "431"),
    (451, "451"),
    (499, "499"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
    (505, "505"),
    (506, "506"),
    (507, "507"),
    (508, "508"),
    (510, "510"),
    (511, "511"),
];

/// One more than the last of them.
const STATUSES_END: usize = 512;

/// Which numbers are among them, so that it is found without a search.
static IS_STATUS: [bool; STATUSES_END] = {
    let mut is_status = [false; STATUSES_END];
    let mut place = 0;
    while place < STATUSES.len() {
        is_status[STATUSES[place].0 as usize] = true;
        place += 1;
    }
    is_status
};

/// The statuses of gRPC. Source: grpc/doc/statuscodes.md.
const GRPC_STATUSES: [&str; 17] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];

/// One status for all that have the same labels: itself, if it has a label of its own.
pub(crate) fn canonical_status(status: u16) -> u16 {
    match status {
        _ if IS_STATUS.get(usize::from(status)).is_some_and(|is| *is) => status,
        0 => 0,
        // None of these is registered.
        100..=599 => status / 100 * 100 + 98,
        _ => u16::MAX,
    }
}

/// One status of gRPC for all that have the same label.
pub(crate) fn canonical_grpc_status(status: Option<u16>) -> Option<u16> {
    status.map(|status| if usize::from(status) < GRPC_STATUSES.len() { status } else { u16::MAX })
}

/// The label of a status: its code if that is registered, else `other`; empty for 0, none.
pub(crate) fn status(status: u16) -> &'static str {
    match STATUSES.binary_search_by_key(&status, |(code, _)| *code) {
        Ok(place) => STATUSES[place].1,
        Err(_) if status == 0 => "",
        Err(_) => OTHER,
    }
}

/// The label of a status' class: its first digit, if it has three, else `other`; empty for 0.
pub(crate) fn status_class(status: u16) -> &'static str {
    match status {
        0 => "",
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => OTHER,
    }
}

/// The label of a status of gRPC: its number if it is defined, else `other`; empty for none.
pub(crate) fn grpc_status(status: Option<u16>) -> &'static str {
    status.map_or("", |status| GRPC_STATUSES.get(usize::from(status)).unwrap_or(&OTHER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_sorted_and_say_their_code() {
        assert!(STATUSES.is_sorted_by_key(|(code, _)| code));
        assert!(STATUSES.iter().all(|(code, label)| code.to_string() == *label));
    }

    #[test]
    fn statuses_with_the_same_labels_are_one() {
        let mut all = Vec::new();
        for code in 0..=u16::MAX {
            let canonical = canonical_status(code);
            let labels = |code| (status_class(code), status(code));
            assert_eq!(labels(code), labels(canonical), "{code}");
            all.push(canonical);
            let grpc = canonical_grpc_status(Some(code));
            assert_eq!(grpc_status(Some(code)), grpc_status(grpc));
            assert!(grpc.is_some_and(|grpc| grpc < 17 || grpc == u16::MAX));
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), STATUSES.len() + 5 + 1 + 1);
        assert_eq!(canonical_grpc_status(None), None);
    }

    #[test]
    fn no_status_makes_a_label_of_its_own() {
        let labels = |code| (status_class(code), status(code));
        assert_eq!(labels(204), ("2xx", "204"));
        assert_eq!(labels(299), ("2xx", "other"));
        assert_eq!(labels(999), ("other", "other"));
        assert_eq!(labels(0), ("", ""));
        let mut all: Vec<_> = (0..=u16::MAX).map(labels).collect();
        all.sort_unstable();
        all.dedup();
        // One for each code, `other` of five classes, `other` of none, and nothing.
        assert_eq!(all.len(), STATUSES.len() + 5 + 1 + 1);
        assert_eq!([None, Some(0), Some(16), Some(17)].map(grpc_status), ["", "0", "16", OTHER]);
    }
}
