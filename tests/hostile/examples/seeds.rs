//! Writes the well-formed inputs of every target where cargo-fuzz looks for inputs to start from: `fuzz/corpus/TARGET/seed-N`.

fn main() -> std::io::Result<()> {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
    for (name, _, seeds) in holm_hostile::TARGETS {
        let folder = std::path::Path::new(corpus).join(name);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in seeds().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
