//! What must hold of apps whatever happens, and the tests that show it, each at the least powerful level that can fail for the right reason.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::root;

/// A promise, and the functions that test it.
const INVARIANTS: [(u8, &str, &[&str]); 20] = [
    (
        1,
        "one run of a release at a time, over crash, restart and another client",
        &[
            "a_manifest_that_the_status_did_not_note_is_never_applied",
            "it_ends_the_same_wherever_the_process_is_killed",
        ],
    ),
    (
        2,
        "killed at any write it goes on, and nobody unlocks anything",
        &[
            "it_ends_the_same_wherever_the_process_is_killed",
            "i02_killed_at_every_sixth_write_of_a_release_it_ends_the_same",
            "i02_killed_at_each_write_of_a_release_it_ends_the_same",
        ],
    ),
    (
        3,
        "at rest there is no write, no request and no child process",
        &["at_rest_nothing_is_done_and_it_is_ready", "an_app_is_a_release_that_helm_knows"],
    ),
    (
        4,
        "both helms work on our records, and Drover on theirs",
        &["i04_both_helms_and_drover_take_over_from_each_other"],
    ),
    (
        5,
        "a record that does not fit is refused before anything is applied",
        &["a_record_that_fits_no_secret_says_its_size"],
    ),
    (
        6,
        "what a chart does not have any more goes; what is to be kept, or belongs to others, stays",
        &[
            "what_is_gone_from_the_manifest_is_pruned_whatever_its_version",
            "an_object_is_kept_by_its_annotation",
            "what_is_marked_belongs_to_that_release_only",
        ],
    ),
    (
        7,
        "what Drover leaves is what helm leaves",
        &["i07_what_drover_leaves_is_what_helm_leaves", "every_chart_for_tests_renders_alike_with_both_helms"],
    ),
    (
        8,
        "values and answers are what helm makes of them",
        &[
            "charts_see_the_values_that_helm_gives_them",
            "answers_are_what_helm_makes_of_set",
            "what_was_recorded_of_helm_is_what_it_does",
        ],
    ),
    (
        9,
        "no value of a Secret reaches status, events or logs",
        &[
            "a_problem_never_shows_an_answer",
            "an_error_never_quotes_the_text",
            "problems_name_place_and_keyword_and_never_a_value",
            "what_a_secret_holds_is_never_told",
            "a_value_of_a_secret_is_told_nowhere_else_either",
            "what_a_revision_would_change_is_seen_before_it_is_approved",
        ],
    ),
    (10, "no operator writes a spec", &["specs_belong_to_people_and_status_to_us"]),
    (
        11,
        "inputs that failed are not tried beyond their budget",
        &["a_failure_is_tried_again_so_often_and_no_more_until_the_inputs_change"],
    ),
    (
        12,
        "a way back leads to the same state each time, and a pin wins",
        &[
            "what_is_not_ready_in_time_goes_back_to_the_revision_before_once",
            "a_pin_holds_a_release_at_a_revision_whatever_else_changes",
        ],
    ),
    (
        13,
        "a rollout exceeds no budget, skips no stage, and ends; no status of before opens a stage",
        &[
            "i13_no_budget_is_exceeded_no_stage_is_skipped_and_all_are_updated_in_the_end",
            "argo_29410_a_status_of_before_the_revision_opens_no_stage",
            "rancher_17856_a_batch_without_an_interval_is_still_a_batch",
            "rancher_18088_what_failed_and_is_mended_goes_on",
            "fleet_clusters_that_no_stage_selects_are_the_last_stage",
        ],
    ),
    (
        14,
        "intervals and the time to be ready survive restarts and clocks that jump",
        &[
            "an_interval_counts_from_the_last_batch_whatever_process_made_it",
            "i14_a_clock_that_jumps_opens_no_stage_by_itself",
            "i14_a_clock_that_jumps_skips_no_stage_and_exceeds_no_budget",
        ],
    ),
    (
        15,
        "a fleet that is relabelled loses no more than it may",
        &[
            "i15_a_fleet_that_is_relabelled_as_a_whole_keeps_all_and_says_so",
            "i15_a_fleet_that_goes_away_slowly_keeps_most_for_an_hour",
        ],
    ),
    (
        16,
        "an offline target blocks nothing and catches up in one step",
        &["i16_an_offline_target_blocks_nothing_and_catches_up_in_one_step"],
    ),
    (
        17,
        "memory does not grow with what a tenant wrote, nor a status with the fleet",
        &[
            "objects_and_their_size_are_bounded",
            "a_bomb_is_refused_before_it_fills_memory",
            "i17_a_status_has_at_most_16_kib_whatever_the_size_of_the_fleet",
            "what_is_rendered_takes_so_many_bytes_in_all_and_the_oldest_goes_first",
        ],
    ),
    (
        18,
        "an app never leaves its namespace, by hooks, lookup or its objects",
        &["an_app_of_a_project_never_leaves_its_namespace", "only_the_version_discovery_and_objects_may_be_asked"],
    ),
    (
        19,
        "the end of an app is as its policy says, and waits for no cluster for ever",
        &[
            "a_deletion_uninstalls_unless_the_release_is_to_stay",
            "who_lost_place_or_role_does_not_act_any_more_at_its_end",
        ],
    ),
    (
        20,
        "drift comes to an end",
        &["what_drifts_is_told_and_applied_again_only_where_the_spec_says_so", "an_app_stays_as_its_release_says"],
    ),
];

#[test]
fn every_invariant_of_apps_has_its_tests() {
    let mut texts = Vec::new();
    for folder in ["operators", "e2e", "crds"] {
        read(&root().join(folder), &mut texts);
    }
    for (number, promise, tests) in INVARIANTS {
        for test in tests {
            let declaration = format!("fn {test}(");
            assert!(texts.iter().any(|text| text.contains(&declaration)), "{number}, {promise}: no test {test}");
        }
    }
}

fn read(folder: &Path, texts: &mut Vec<String>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| -> PathBuf { entry.unwrap().path() }) {
        if path.is_dir() {
            read(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
}
