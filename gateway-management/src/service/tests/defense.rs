//! High defense packages.

use super::*;
use crate::declaration::Declaration;
use crate::defense::{Limits, LimitsPatch, MOST_PACKAGES};

fn loud() -> LimitsPatch {
    LimitsPatch {
        attack_rate: Some(5),
        block: Some(vec!["192.0.2.0/24".parse().unwrap()]),
        ..LimitsPatch::default()
    }
}

impl World {
    fn package(&self, name: &str, gateway: Option<&str>) -> Result<crate::defense::DefensePackage, Error> {
        self.management
            .create_defense_package(NOW, &self.actor, name, gateway, &loud())
    }

    fn bind(&self, id: &str, gateway: Option<&str>) -> Result<(), Error> {
        self.management
            .bind_defense_package(NOW, &self.actor, id, gateway)
    }

    fn bound(&self) -> Vec<Option<String>> {
        let packages = self.management.defense_packages().unwrap();
        packages.into_iter().map(|package| package.gateway).collect()
    }
}

#[test]
fn a_package_protects_one_gateway_and_moves_to_another() {
    let world = World::new();
    let (one, two) = (
        world.gateway("one", "vpc-main").unwrap(),
        world.gateway("two", "vpc-main").unwrap(),
    );
    let first = world.package("first", Some(&one.number.to_string())).unwrap();
    assert_eq!(
        first.gateway.as_ref(),
        Some(&one.id),
        "the old form of an id is taken"
    );
    let spare = world.package("spare", None).unwrap();
    assert!(matches!(
        world.bind(&spare.id, Some(&one.id)),
        Err(Error::InUse { .. })
    ));
    assert!(matches!(
        world.package("third", Some(&one.id)),
        Err(Error::InUse { .. })
    ));
    assert!(matches!(
        world.bind(&spare.id, Some("vpngw-none")),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        world.package("first", None),
        Err(Error::NameInUse { .. })
    ));

    let told = world.agent.changes.load(Ordering::Relaxed);
    world.bind(&first.id, Some(&two.id)).unwrap();
    world.bind(&spare.id, Some(&one.id)).unwrap();
    assert_eq!(world.agent.changes.load(Ordering::Relaxed), told + 2);
    assert_eq!(world.bound(), [Some(two.id), Some(one.id.clone())]);
    assert!(matches!(
        world
            .management
            .delete_defense_package(NOW, &world.actor, &spare.id),
        Err(Error::InUse { .. })
    ));
    world
        .management
        .delete_gateway(NOW, &world.actor, &one.id)
        .unwrap();
    assert_eq!(world.bound()[1], None, "a package outlives its gateway");
    world
        .management
        .delete_defense_package(NOW, &world.actor, &spare.id)
        .unwrap();
    assert_eq!(world.bound().len(), 1);
}

#[test]
fn what_the_agent_runs_and_an_export_have_the_packages_and_an_import_takes_them() {
    let world = World::new();
    let gateway = world.gateway("one", "vpc-main").unwrap();
    let package = world.package("shield", Some(&gateway.id)).unwrap();
    let desired = world.management.desired().unwrap();
    let document = &desired.ends.document;
    for line in ["attack_rate = 5", "ike_rate = 1000", "block = [\"192.0.2.0/24\"]"] {
        assert!(document.contains(line), "{line}:\n{document}");
    }
    let text = world.management.export(&Actor::local()).unwrap();
    let read = |text: &str| Declaration::read(text, &|_no_file| Err("no files".into())).unwrap();
    let import = |text: &str| {
        let import = world.management.import(NOW, &Actor::local(), &read(text), false);
        import.unwrap().counts()
    };
    assert_eq!(import(&text), (0, 0, 2));
    let other = text
        .replace("attack_rate = 5", "attack_rate = 6")
        .replace("block = [\"192.0.2.0/24\"]", "");
    assert_eq!(import(&other), (0, 1, 1));
    let [stored] = &world.management.defense_packages().unwrap()[..] else {
        panic!("another package");
    };
    assert_eq!((&stored.id, stored.created), (&package.id, NOW));
    assert_eq!(
        stored.limits,
        Limits {
            attack_rate: 6,
            ..Limits::default()
        }
    );
    assert_eq!(import("[[defense]]\nid = \"spare\"\n"), (1, 0, 0));
}

#[test]
fn packages_are_for_operators_and_few() {
    let world = World::new();
    let reader = Actor {
        name: "AKIDread".to_owned(),
        role: Role::Read,
    };
    let refused = world
        .management
        .create_defense_package(NOW, &reader, "x", None, &LimitsPatch::default());
    assert!(matches!(refused, Err(Error::NotAllowed { .. })));
    for n in 0..MOST_PACKAGES {
        world.package(&n.to_string(), None).unwrap();
    }
    assert!(matches!(world.package("more", None), Err(Error::Quota { .. })));
}
