//! Ticks over daylight saving, and runs over restarts and clocks that jump.

use std::time::Duration;

use drover_crds::CatchUp;
use jiff::{SignedDuration, Timestamp, tz::AmbiguousOffset};
use proptest::prelude::*;

use super::{
    Due, Schedule, ScheduleError, Share,
    runs::{due, tick_of},
};

const BERLIN: Option<&str> = Some("Europe/Berlin");

fn schedule(text: &str, zone: Option<&str>) -> Schedule {
    Schedule::parse(text, zone).unwrap()
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// All ticks from one time to another.
fn ticks(text: &str, zone: Option<&str>, from: &str, to: &str) -> Vec<String> {
    let (schedule, to) = (schedule(text, zone), at(to));
    let all = std::iter::successors(schedule.next_after(at(from)), |tick| schedule.next_after(*tick));
    all.take_while(|tick| *tick <= to).map(|tick| tick.to_string()).collect()
}

#[test]
fn five_fields_are_read_as_cron_reads_them() {
    for (text, from, expected) in [
        ("0 3 * * *", "2026-11-27T03:00:00Z", "2026-11-28T03:00:00Z"),
        ("*/20 * * * *", "2026-11-27T03:01:00Z", "2026-11-27T03:20:00Z"),
        ("5,50-59/4 4 * * *", "2026-11-27T04:05:00Z", "2026-11-27T04:50:00Z"),
        ("0 0 1 jan *", "2026-11-27T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("0 0 * * 7", "2026-11-27T00:00:00Z", "2026-11-29T00:00:00Z"),
        ("0 0 * * FRI-SUN", "2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z"),
        // Either of both, as cron has it …
        ("0 0 13 * FRI", "2026-11-27T00:00:00Z", "2026-12-04T00:00:00Z"),
        ("0 0 13 * FRI", "2026-12-11T00:00:00Z", "2026-12-13T00:00:00Z"),
        // … unless one begins with a star.
        ("0 0 */2 * MON", "2026-11-27T00:00:00Z", "2026-12-07T00:00:00Z"),
        ("0 0 29 2 *", "2026-11-27T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
        ("0 0 */31 1 MON", "2096-11-27T00:00:00Z", "2103-01-01T00:00:00Z"),
        ("@hourly", "2026-11-27T03:00:01Z", "2026-11-27T04:00:00Z"),
        ("@daily", "2026-11-27T03:00:00Z", "2026-11-28T00:00:00Z"),
        ("@weekly", "2026-11-27T03:00:00Z", "2026-11-29T00:00:00Z"),
        ("@monthly", "2026-11-27T03:00:00Z", "2026-12-01T00:00:00Z"),
        ("@yearly", "2026-11-27T03:00:00Z", "2027-01-01T00:00:00Z"),
    ] {
        assert_eq!(schedule(text, None).next_after(at(from)), Some(at(expected)), "{text} after {from}");
    }
}

#[test]
fn what_is_no_schedule_says_why() {
    for (text, zone, expected) in [
        ("0 0 3 * * *", None, "has 6 fields; write five"),
        ("0 3 * *", None, "has 4 fields"),
        ("", None, "has 0 fields"),
        ("@reboot", None, "none of @hourly"),
        ("@every 5m", None, "none of @hourly"),
        ("60 3 * * *", None, r#""60" is no minute; write numbers from 0 to 59"#),
        ("0 24 * * *", None, "is no hour"),
        ("0 0 0 * *", None, "is no day of the month"),
        ("0 0 L * *", None, "is no day of the month"),
        ("0 0 * 13 *", None, "is no month"),
        ("0 0 * * 8", None, "is no day of the week"),
        ("0 0 * * MON#1", None, "is no day of the week"),
        ("0 0 ? * *", None, "is no day of the month"),
        ("5-1 0 * * *", None, "is no minute"),
        ("*/0 0 * * *", None, "is no minute"),
        ("*/90 0 * * *", None, "is no minute"),
        ("5/10 0 * * *", None, "is no minute"),
        ("+5 0 * * *", None, "is no minute"),
        ("0,, 0 * * *", None, "is no minute"),
        ("0 0 30 2 *", None, "never comes"),
        ("0 0 31 4,6,9,11 *", None, "never comes"),
        ("0 0 * * *", Some("Europe/Atlantis"), r#""Europe/Atlantis" is no time zone"#),
        ("0 0 * * *", Some("Etc/Unknown"), "is no time zone"),
        ("0 0 * * *", Some(""), "is no time zone"),
    ] {
        let error = Schedule::parse(text, zone).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert_eq!(Schedule::parse("0 0 31 2 *", None), Err(ScheduleError::Never));
    assert!(Schedule::parse("0 0 30 2 MON", None).is_ok(), "there are Mondays in February");
}

#[test]
fn b8_a_tick_in_the_hour_that_is_skipped_runs_once_when_the_clock_has_gone_forward() {
    let night = ("2026-03-28T22:00:00Z", "2026-03-30T12:00:00Z");
    let of = |text| ticks(text, BERLIN, night.0, night.1);
    assert_eq!(of("30 2 * * *"), ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    assert_eq!(of("0,15,30 2 * * *").len(), 1 + 3, "all ticks that are skipped are one run");
    assert_eq!(ticks("*/30 * * * *", BERLIN, "2026-03-29T00:15:00Z", "2026-03-29T02:00:00Z").len(), 4);
    assert_eq!(of("0 2,3 * * *"), ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z", "2026-03-30T01:00:00Z"]);
    // Where the clock goes forward at midnight.
    let cairo = ticks("0 0 * * *", Some("Africa/Cairo"), "2026-04-22T23:00:00Z", "2026-04-25T00:00:00Z");
    assert_eq!(cairo, ["2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"]);
    // Samoa had no 30 December 2011.
    let apia = ticks("0 12 30 12 *", Some("Pacific/Apia"), "2011-12-01T00:00:00Z", "2012-12-30T23:00:00Z");
    assert_eq!(apia, ["2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"]);
}

#[test]
fn b8_a_tick_in_the_hour_that_comes_twice_runs_once_and_of_every_hour_each_time() {
    let night = ("2026-10-24T22:00:00Z", "2026-10-25T22:00:00Z");
    assert_eq!(ticks("30 2 * * *", BERLIN, night.0, night.1), ["2026-10-25T00:30:00Z"]);
    assert_eq!(ticks("0 1-4 * * *", BERLIN, night.0, night.1).len(), 4);
    let hourly = ticks("30 * * * *", BERLIN, "2026-10-24T23:00:00Z", "2026-10-25T02:00:00Z");
    assert_eq!(hourly, ["2026-10-24T23:30:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
    // By half an hour, and back over midnight.
    let lord_howe = ticks("45 1 * * *", Some("Australia/Lord_Howe"), "2026-04-03T20:00:00Z", "2026-04-05T00:00:00Z");
    assert_eq!(lord_howe, ["2026-04-04T14:45:00Z"]);
    let st_johns = ticks("15 23,0 * * *", Some("America/St_Johns"), "2010-11-06T12:00:00Z", "2010-11-07T12:00:00Z");
    assert_eq!(st_johns, ["2010-11-07T01:45:00Z", "2010-11-07T03:45:00Z"]);
    // Half a minute of Sunday, and then most of an hour of Saturday again.
    let hourly = schedule("45 * * * *", Some("America/St_Johns"));
    assert_eq!(hourly.next_after(at("2010-11-07T02:30:30Z")), Some(at("2010-11-07T03:15:00Z")));
    assert_eq!(hourly.last_until(at("2010-11-07T03:20:00Z")), Some(at("2010-11-07T03:15:00Z")));
}

#[test]
fn every_target_has_its_own_part_of_the_spread_and_always_the_same() {
    let schedule = schedule("0 * * * *", None);
    let run = schedule.newest_run(at("2026-11-27T03:59:00Z"), Duration::from_mins(30)).unwrap();
    assert_eq!((run.tick, run.spread), (at("2026-11-27T03:00:00Z"), SignedDuration::from_mins(30)));
    let begins = |number: usize| run.begins(Share::of(&["team", "nightly", &format!("eu-{number}")]));
    let mut by_minute = [0; 30];
    for number in 0..3_000 {
        assert_eq!(begins(number), begins(number));
        let after = begins(number).duration_since(run.tick);
        by_minute[usize::try_from(after.as_mins()).unwrap()] += 1;
    }
    assert!(by_minute.iter().all(|count| (60..=140).contains(count)), "{by_minute:?}");
    // It never goes beyond the next tick.
    let wide = schedule.newest_run(at("2026-11-27T03:59:00Z"), Duration::from_hours(24)).unwrap();
    assert_eq!(wide.spread, SignedDuration::from_hours(1));
    let none = schedule.newest_run(at("2026-11-27T03:59:00Z"), Duration::ZERO).unwrap();
    assert_eq!((none.begins(Share::of(&["a"])), none.has_begun_by()), (none.tick, none.tick));
}

#[test]
fn a_name_tells_schedule_target_and_tick_and_fits() {
    let run = schedule("0 3 * * *", None).newest_run(at("2026-11-27T04:00:00Z"), Duration::ZERO).unwrap();
    let name = run.name("nightly", "eu-1");
    assert!(name.starts_with("nightly-") && name.ends_with("-202611270300"), "{name}");
    let long = ["a".repeat(63), format!("{}b", "a".repeat(62))];
    let mut all = vec![name, run.name("nightly-eu", "1"), run.name("nightly", "eu-2")];
    for one in &long {
        all.extend(long.iter().map(|other| run.name(one, other)));
    }
    assert!(all.iter().all(|name| name.len() <= 63 && !name.contains("--")), "{all:?}");
    assert!(all.iter().all(|name| tick_of(name) == Some(run.tick)), "{all:?}");
    for none in ["nightly", "nightly-2026", "nightly-20261127030", "nightly-202613270300", "nightly-2026112703 0"] {
        assert_eq!(tick_of(none), None, "{none}");
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn what_was_missed_is_made_up_for_once_or_not_at_all() {
    let (begins, hour) = (at("2026-11-27T03:00:00Z"), SignedDuration::from_hours(1));
    let before = begins - hour;
    for (what, until, catch_up, now, expected) in [
        ("not yet", before, CatchUp::Latest, begins - SignedDuration::from_secs(1), Due::At(begins)),
        ("in time", before, CatchUp::None, begins, Due::Now),
        ("a little late", before, CatchUp::None, begins + SignedDuration::from_mins(5), Due::Now),
        ("too late", before, CatchUp::None, begins + SignedDuration::from_mins(6), Due::Over),
        ("late", before, CatchUp::Latest, begins + hour, Due::Now),
        ("done", begins, CatchUp::Latest, begins + hour, Due::Over),
        ("a clock that went back", begins, CatchUp::Latest, before, Due::Over),
    ] {
        assert_eq!(due(begins, until, catch_up, now), expected, "{what}");
    }
}

fn texts() -> impl Strategy<Value = String> {
    let minute = prop::sample::select(vec!["0", "30", "*/15", "*", "7,59", "10-20/5"]);
    let hour = prop::sample::select(vec!["0", "2", "*", "*/2", "1-3", "23,0"]);
    let day = prop::sample::select(vec!["*", "1", "29", "*/7", "10-31"]);
    let month = prop::sample::select(vec!["*", "2", "3,10,11"]);
    let weekday = prop::sample::select(vec!["*", "0", "MON-FRI"]);
    (minute, hour, day, month, weekday)
        .prop_map(|(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}"))
}

fn zones() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "America/St_Johns",
        "Asia/Kathmandu",
        "Pacific/Apia",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Forward and backward there are the same ticks, each once, in their order.
    #[test]
    fn b8_ticks_are_the_same_whichever_way_they_are_counted(text in texts(), zone in zones(), start in 0..2_000_000_000_i64) {
        let schedule = schedule(&text, Some(zone));
        let start = Timestamp::from_second(start).unwrap();
        let mut forward = vec![schedule.next_after(start).unwrap()];
        for _ in 0..40 {
            let last = *forward.last().unwrap();
            let next = schedule.next_after(last).unwrap();
            prop_assert!(next > last);
            let between = last + SignedDuration::from_nanos(next.duration_since(last).as_nanos().try_into().unwrap_or(i64::MAX) / 2);
            prop_assert_eq!(schedule.last_until(between), Some(last));
            prop_assert_eq!(schedule.next_after(between), Some(next));
            prop_assert_eq!(schedule.last_until(next), Some(next));
            forward.push(next);
        }
        for pair in forward.windows(2) {
            let just_before = pair[1] - SignedDuration::from_nanos(1);
            prop_assert_eq!(schedule.last_until(just_before), Some(pair[0]));
        }
    }

    /// Each tick is a time as the fields have it, but for what the clock skips.
    #[test]
    fn a_tick_is_at_a_time_of_its_fields(minute in 0..60_i8, hour in 0..24_i8, zone in zones(), start in 1_700_000_000..1_900_000_000_i64) {
        let schedule = schedule(&format!("{minute} {hour} * * *"), Some(zone));
        let mut tick = Timestamp::from_second(start).unwrap();
        let mut days = std::collections::BTreeSet::new();
        for _ in 0..370 {
            tick = schedule.next_after(tick).unwrap();
            let local = schedule.zone().to_datetime(tick);
            prop_assert!(days.insert(local.date()), "two runs on {}", local.date());
            let is_as_written = (local.hour(), local.minute()) == (hour, minute);
            let written = schedule.zone().to_ambiguous_timestamp(local.date().at(hour, minute, 0, 0));
            let is_skipped = matches!(written.offset(), AmbiguousOffset::Gap { .. });
            prop_assert!(is_as_written || is_skipped, "{local}");
        }
    }
}
