//! What does the workspace hold, and where is it built? Asked of cargo, without the dependencies.

use cargo_metadata::{Metadata, MetadataCommand};
use std::path::{Path, PathBuf};

/// The members of the workspace, with their features and targets.
pub fn of(root: &Path) -> Result<Metadata, String> {
    let mut command = MetadataCommand::new();
    command.current_dir(root).no_deps();
    command.exec().map_err(|error| error.to_string())
}

/// The folder that cargo builds in.
pub fn target_folder(root: &Path) -> Result<PathBuf, String> {
    of(root).map(|workspace| workspace.target_directory.into_std_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_has_members_and_silken_has_features() {
        let workspace = of(&crate::root()).expect("cargo reads its own manifest");
        assert!(workspace.workspace_packages().len() > 5);
        let mut packages = workspace.packages.iter();
        let silken = packages.find(|package| package.name == "silken").unwrap();
        assert!(silken.features.contains_key("interpose"));
        assert!(target_folder(&crate::root()).unwrap().is_absolute());
    }
}
