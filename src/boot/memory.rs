//! How much memory this process may have: that of the machine, or less by its control group.

use std::path::{Path, PathBuf};

/// In bytes.
pub(super) fn available_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = info.totalram.saturating_mul(u64::from(info.mem_unit));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = group_limit(&groups, |file| std::fs::read_to_string(file).ok());
    limit.map_or(machine, |limit| machine.min(limit))
}

/// The least limit of the control groups that `/proc/self/cgroup` names (cgroups(7)) and of their parents.
fn group_limit(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let files = groups.lines().flat_map(limit_files);
    // `max` is no number and no limit.
    files.filter_map(|file| read(&file)?.trim().parse().ok()).min()
}

/// The files that may hold a limit, by one line of `/proc/self/cgroup`: `0::/a/b` in version 2, `7:cpu,memory:/a/b` in
/// version 1.
fn limit_files(line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (mount, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        list if list.split(',').any(|controller| controller == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let groups = Path::new(group.trim_start_matches('/')).ancestors();
    groups.map(|group| Path::new(mount).join(group).join(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit where these files are.
    fn limit(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        group_limit(groups, |path| {
            let file = files.iter().find(|(name, _)| Path::new(name) == path);
            file.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let files = [
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/memory.max", "1000\n"),
            ("/sys/fs/cgroup/memory.max", "5000\n"),
            ("/sys/fs/cgroup/c/memory.max", "10\n"),
        ];
        assert_eq!(limit("0::/a/b\n", &files), Some(1000));
        assert_eq!(limit("0::/a/b\n", &files[..1]), None, "no limit");
        assert_eq!(limit("0::/\n", &files), Some(5000), "as a container sees it");
        assert_eq!(limit("", &files), None);
        assert_eq!(limit("nonsense\n", &files), None);
    }

    #[test]
    fn version_1_of_control_groups_has_other_files() {
        let files = [("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000\n"), ("/sys/fs/cgroup/memory.max", "1\n")];
        assert_eq!(limit("3:cpu:/a\n7:cpuacct,memory:/a/b\n", &files), Some(1000));
        assert_eq!(limit("3:cpu:/a\n", &files), None);
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(available_bytes() > 1 << 20);
    }
}
