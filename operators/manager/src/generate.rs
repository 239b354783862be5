//! Everything that is generated comes from here.

use std::{error::Error, fs, path::Path};

use clap::CommandFactory;

use crate::{
    command_line::{CommandLine, OutputArguments},
    reference,
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
