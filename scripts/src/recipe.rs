//! Recipes: real guests that are fetched and put together on demand, never kept in git.

use std::path::PathBuf;

use bulkhead_platforms::RecipeImage;

use crate::failure::{Failure, Outcome};
use crate::guests::folders;

/// What the person gives instead of what a recipe would fetch.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--kernel`
    pub kernel: Option<PathBuf>,
    /// `--busybox`
    pub busybox: Option<PathBuf>,
}

/// Returns the names of all recipes.
pub fn names() -> Vec<String> {
    folders("guests/recipes", "recipe.toml")
}

/// Makes the files of a recipe.
///
/// # Errors
/// The name is wrong, or something cannot be fetched: the message says what to get and where to put it.
pub fn make(name: &str, _sources: &Sources) -> Outcome<RecipeImage> {
    Err(Failure::failed(format!(
        "the recipe {name} is not built yet"
    )))
}
