//! Which guests run beside witnesses: the guest `sentinel` on a pCPU of theirs, and one on another.

use std::collections::BTreeSet;

/// The guest that notices what is done to it.
const WITNESS: &str = "sentinel";

/// Returns the guests of a table that run beside witnesses: on two pCPUs at least, one of them the guest's.
pub fn watched(table: &toml::Table) -> BTreeSet<String> {
    let partitions = table.get("partition").and_then(toml::Value::as_array);
    let guests: Vec<(&str, BTreeSet<i64>)> = partitions
        .into_iter()
        .flatten()
        .filter_map(|partition| Some((guest(partition)?, pcpus(partition))))
        .collect();
    let is_witness = |guest: &&(&str, BTreeSet<i64>)| guest.0 == WITNESS;
    let beside: BTreeSet<i64> = guests
        .iter()
        .filter(is_witness)
        .flat_map(|(_, pcpus)| pcpus.iter().copied())
        .collect();
    let watched = |guest: &&(&str, BTreeSet<i64>)| {
        !is_witness(guest) && beside.len() > 1 && !guest.1.is_disjoint(&beside)
    };
    let names = guests.iter().filter(watched);
    names.map(|(name, _)| (*name).to_owned()).collect()
}

/// Returns the guest crate of a partition.
pub fn guest(partition: &toml::Value) -> Option<&str> {
    partition.get("image")?.get("guest")?.as_str()
}

/// Returns the pCPUs of a partition that are named by their position.
fn pcpus(partition: &toml::Value) -> BTreeSet<i64> {
    let vcpus = partition.get("vcpus").and_then(toml::Value::as_array);
    let pcpu = |vcpu: &toml::Value| vcpu.get("pcpu")?.as_integer();
    vcpus.into_iter().flatten().filter_map(pcpu).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(guest: &str, pcpus: &[u32]) -> String {
        let vcpus: Vec<String> = pcpus
            .iter()
            .map(|at| format!("{{ pcpu = {at} }}"))
            .collect();
        let vcpus = vcpus.join(", ");
        format!("[[partition]]\nimage = {{ guest = \"{guest}\" }}\nvcpus = [{vcpus}]\n")
    }

    fn watched_of(partitions: &[(&str, &[u32])]) -> Vec<String> {
        let text: String = partitions
            .iter()
            .map(|(name, at)| partition(name, at))
            .collect();
        watched(&toml::from_str(&text).unwrap())
            .into_iter()
            .collect()
    }

    #[test]
    fn a_guest_is_watched_from_its_own_pcpu_and_another() {
        let both: [(&str, &[u32]); 3] = [("sentinel", &[0]), ("sentinel", &[1]), ("a", &[0])];
        assert_eq!(watched_of(&both), ["a"]);
        // On both of them too.
        assert_eq!(watched_of(&[both[0], both[1], ("a", &[0, 1])]), ["a"]);
        // From elsewhere alone, from beside alone, from nowhere.
        assert!(watched_of(&[both[0], both[1], ("a", &[2])]).is_empty());
        assert!(watched_of(&[both[0], both[2]]).is_empty());
        assert!(watched_of(&[both[0], both[0], both[2]]).is_empty());
        assert!(watched_of(&[("b", &[0]), ("b", &[1]), both[2]]).is_empty());
    }
}
