//! Everything that is generated comes from here.

use std::{error::Error, fs, path::Path};

use clap::CommandFactory;
use kube::ResourceExt as _;

use crate::{
    command_line::{CommandLine, OutputArguments, RbacArguments},
    reference,
    registry::Operators,
    rights::{Rules, cluster_role, namespaced_role},
};

type Outcome = Result<(), Box<dyn Error>>;

/// Custom resource definitions, one file per kind.
pub(crate) fn crds(arguments: &OutputArguments) -> Outcome {
    for crd in drover_crds::all() {
        // Through a JSON value, so that keys are sorted and a change shows as a small difference.
        let yaml = serde_yaml::to_string(&serde_json::to_value(&crd)?)?;
        let name = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
        emit(arguments, &name, &format!("---\n{yaml}"))?;
    }
    Ok(())
}

/// The roles of Drover in the management cluster and in a downstream one, for those who do not use the chart.
pub(crate) fn rbac(arguments: &RbacArguments) -> Outcome {
    let RbacArguments { operators, output } = arguments;
    let operators = Operators::of(operators);
    let (rules, name) = (Rules::of(&operators), operators.process_name());
    let downstream_name = format!("{name}-downstream");
    let management = [
        serde_json::to_value(cluster_role(&name, rules.management))?,
        serde_json::to_value(namespaced_role(&name, rules.own_namespace))?,
    ];
    let downstream = [
        serde_json::to_value(cluster_role(&downstream_name, rules.downstream))?,
        serde_json::to_value(namespaced_role(&downstream_name, rules.downstream_namespace))?,
    ];
    emit(output, "management.yaml", &documents(&management)?)?;
    emit(output, "downstream.yaml", &documents(&downstream)?)
}

/// What the charts take from the code: the custom resource definitions, kept when their chart goes, and the rules of the
/// roles.
pub(crate) fn charts(folder: &Path) -> Outcome {
    for mut crd in drover_crds::all() {
        crd.annotations_mut().insert("helm.sh/resource-policy".to_owned(), "keep".to_owned());
        let name = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
        let text = serde_yaml::to_string(&serde_json::to_value(&crd)?)?;
        // Helm would read these as its own.
        if text.contains("{{") {
            return Err(format!("the definition of {} holds the beginning of a Helm expression", crd.name_any()).into());
        }
        write(&folder.join("drover-crds/templates"), &name, &text)?;
    }
    let rules = serde_yaml::to_string(&serde_json::to_value(Rules::of(&Operators::all()))?)?;
    write(&folder.join("drover/files"), "rules.yaml", &rules)
}

fn documents(objects: &[serde_json::Value]) -> Result<String, serde_yaml::Error> {
    objects.iter().map(|object| Ok(format!("---\n{}", serde_yaml::to_string(object)?))).collect()
}

/// The references of API and command line.
pub(crate) fn docs(arguments: &OutputArguments) -> Outcome {
    emit(arguments, "api-reference.md", &reference::api(&drover_crds::all()))?;
    emit(arguments, "cli-reference.md", &reference::command_line(CommandLine::command()))
}

fn emit(arguments: &OutputArguments, name: &str, text: &str) -> Outcome {
    if let Some(folder) = &arguments.output {
        return write(folder, name, text);
    }
    print!("{text}");
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str) -> Outcome {
    let path = folder.join(name);
    fs::create_dir_all(folder)?;
    fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(())
}
