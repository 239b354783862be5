use drover_backups::FailureCause;

use super::{RpcError, Seen, choose};

fn seen(member_id: u64, leader: u64) -> Seen {
    Seen {
        version: "3.7.1".to_owned(),
        cluster_id: 1,
        member_id,
        leader,
        revision: 10,
        db_bytes: 1 << 20,
        lag: 0,
        is_learner: false,
        errors: Vec::new(),
    }
}

fn chosen(members: Vec<Result<Seen, RpcError>>) -> Result<usize, (FailureCause, String)> {
    let named =
        members.into_iter().enumerate().map(|(at, seen)| (format!("https://m{at}:2379"), seen)).collect::<Vec<_>>();
    choose(&named, 100).map_err(|error| (error.cause, error.message))
}

#[test]
fn a_healthy_member_that_does_not_lead_is_chosen() {
    let learner = Seen { is_learner: true, ..seen(1, 3) };
    let late = Seen { lag: 101, ..seen(1, 3) };
    let alarmed = Seen { errors: vec!["memberID:1 alarm:NOSPACE ".to_owned()], ..seen(1, 3) };
    // It says so itself, and is still the best that there is.
    let alone = Seen { errors: vec!["etcdserver: no leader".to_owned()], ..seen(1, 0) };
    for (members, expected) in [
        (vec![Ok(seen(1, 1)), Ok(seen(2, 1))], 1),
        (vec![Ok(seen(1, 1))], 0),
        (vec![Err(RpcError::Unreachable), Ok(seen(1, 1))], 1),
        (vec![Ok(learner.clone()), Ok(late.clone()), Ok(alarmed.clone()), Ok(seen(3, 3))], 3),
        (vec![Ok(Seen { lag: 100, ..seen(1, 3) }), Ok(seen(3, 3))], 0),
        (vec![Ok(alone)], 0),
    ] {
        assert_eq!(chosen(members.clone()), Ok(expected), "{members:?}");
    }
    for (member, part) in [(learner, "learner"), (late, "lags 101"), (alarmed, "alarm NOSPACE")] {
        let (cause, message) = chosen(vec![Err(RpcError::Unreachable), Ok(member)]).unwrap_err();
        assert_eq!(cause, FailureCause::MemberUnhealthy);
        assert!(message.contains(part) && message.contains("https://m1:2379"), "{message}");
    }
}

#[test]
fn why_no_member_answers_is_told_apart() {
    let denied = RpcError::Status { code: 7, message: "permission denied".to_owned() };
    for (errors, expected) in [
        (vec![RpcError::Unreachable, RpcError::Timeout], FailureCause::MemberUnreachable),
        (vec![RpcError::Unreachable, RpcError::Tls], FailureCause::MemberRefused),
        (vec![denied], FailureCause::MemberRefused),
        (vec![], FailureCause::MemberUnreachable),
    ] {
        let (cause, message) = chosen(errors.into_iter().map(Err).collect()).unwrap_err();
        assert_eq!(cause, expected, "{message}");
    }
}
