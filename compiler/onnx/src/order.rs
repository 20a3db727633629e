//! order - puts the nodes of a graph into topological order, or says what cycle prevents it.

use crate::model::{Graph, Node};
use nnc_ir::diag::Diagnostic;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

/// Sorts `nodes`, and those of their bodies, so that every value is made before it is used; nodes already in order stay
/// where they are. Problems go to `report`. Returns whether there is such an order everywhere.
pub(crate) fn sort(nodes: &mut Vec<Node>, report: &mut dyn FnMut(Diagnostic)) -> bool {
    let mut ordered = true;
    for node in nodes.iter_mut() {
        for body in node.graphs_mut() {
            ordered &= sort(&mut body.nodes, report);
        }
    }
    let dependencies = dependencies(nodes);
    let late = dependencies.iter().enumerate().find_map(|(i, before)| {
        let j = before.iter().copied().find(|&j| j >= i)?;
        Some((i, j))
    });
    let Some((i, j)) = late else { return ordered };
    let order = topological(&dependencies);
    if order.len() < nodes.len() {
        let cycle: Vec<String> = cycle(&dependencies, &order).iter().map(|i| format!("#{i}")).collect();
        report(Diagnostic::error(105, format!("cycle: {}", cycle.join(" -> "))));
        return false;
    }
    let made = nodes[j].outputs.iter().find(|o| !o.is_empty() && nodes[i].inputs.contains(o));
    let name = made.map_or("", String::as_str);
    let message = format!("uses '{name}' made later by node #{j}; nodes are sorted");
    report(Diagnostic::warning(104, message).at_node(nodes[i].loc()));
    let mut unsorted: Vec<Option<Node>> = std::mem::take(nodes).into_iter().map(Some).collect();
    nodes.extend(order.into_iter().filter_map(|i| unsorted[i].take()));
    ordered
}

/// For each node the nodes that make its operands and what its bodies capture. A capture that the file makes later does
/// not count: that is an error, which the scope check reports.
fn dependencies(nodes: &[Node]) -> Vec<BTreeSet<usize>> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            makers.entry(name).or_insert(i);
        }
    }
    let maker = |name: &str| makers.get(name).copied();
    let before = |(i, node): (usize, &Node)| {
        let mut before: BTreeSet<usize> = node.inputs.iter().filter_map(|name| maker(name)).collect();
        for (_, body) in node.graphs() {
            before.extend(captures(body).into_iter().filter_map(maker).filter(|&j| j < i));
        }
        before
    };
    nodes.iter().enumerate().map(before).collect()
}

/// Nodes in order, those on or behind a cycle left out; of several that could come next the first of the file.
fn topological(dependencies: &[BTreeSet<usize>]) -> Vec<usize> {
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); dependencies.len()];
    let mut n_missing: Vec<usize> = dependencies.iter().map(BTreeSet::len).collect();
    for (i, before) in dependencies.iter().enumerate() {
        for &j in before {
            users[j].push(i);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..dependencies.len()).filter(|&i| n_missing[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(dependencies.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &user in &users[i] {
            n_missing[user] -= 1;
            if n_missing[user] == 0 {
                ready.push(Reverse(user));
            }
        }
    }
    order
}

/// A cycle among the nodes that `order` left out, in the direction of the data, its first node again at the end.
fn cycle(dependencies: &[BTreeSet<usize>], order: &[usize]) -> Vec<usize> {
    let done: HashSet<usize> = order.iter().copied().collect();
    let unfinished = |i: &usize| !done.contains(i);
    let Some(start) = (0..dependencies.len()).find(unfinished) else { return Vec::new() };
    // Every node left out waits for another one left out: going back meets a node again.
    let mut path = vec![start];
    let mut seen_at: HashMap<usize, usize> = HashMap::from([(start, 0)]);
    while let Some(&before) = path.last().and_then(|&i| dependencies[i].iter().find(|j| unfinished(j))) {
        path.push(before);
        if let Some(&first) = seen_at.get(&before) {
            path.drain(..first);
            break;
        }
        seen_at.insert(before, path.len() - 1);
    }
    path.reverse();
    // Begin with the smallest index, so that a cycle has one spelling.
    path.pop();
    let smallest = path.iter().enumerate().min_by_key(|(_, i)| **i).map_or(0, |(at, _)| at);
    path.rotate_left(smallest);
    path.extend(path.first().copied());
    path
}

/// Names that a graph reads from the graphs around it.
fn captures(graph: &Graph) -> BTreeSet<&str> {
    let mut own: HashSet<&str> = graph.inputs.iter().map(|v| v.name.as_str()).collect();
    own.extend(graph.initializers.iter().map(|t| t.name.as_str()));
    own.extend(graph.nodes.iter().flat_map(|n| &n.outputs).map(String::as_str));
    let mut read: BTreeSet<&str> = graph.outputs.iter().map(|v| v.name.as_str()).collect();
    for node in &graph.nodes {
        read.extend(node.inputs.iter().map(String::as_str));
        for (_, body) in node.graphs() {
            read.extend(captures(body));
        }
    }
    read.retain(|name| !name.is_empty() && !own.contains(name));
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(index: usize, inputs: &[&str], outputs: &[&str]) -> Node {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Node { index, inputs: owned(inputs), outputs: owned(outputs), ..Node::default() }
    }

    fn sorted(mut nodes: Vec<Node>) -> (Vec<usize>, Vec<String>) {
        let mut problems = Vec::new();
        sort(&mut nodes, &mut |d| problems.push(format!("{:03} {}", d.code.0, d.message)));
        (nodes.iter().map(|n| n.index).collect(), problems)
    }

    #[test]
    fn nodes_in_order_stay() {
        let (order, problems) = sorted(vec![node(0, &["x"], &["a"]), node(1, &["a"], &["b"])]);
        assert_eq!((order, problems.len()), (vec![0, 1], 0));
    }

    #[test]
    fn nodes_out_of_order_are_sorted_with_a_warning() {
        let (order, problems) = sorted(vec![node(0, &["b"], &["c"]), node(1, &["x"], &["b"])]);
        assert_eq!(order, [1, 0]);
        assert_eq!(problems, ["104 uses 'b' made later by node #1; nodes are sorted"]);
    }

    #[test]
    fn cycles_are_named() {
        let (_, problems) =
            sorted(vec![node(0, &["x"], &["a"]), node(1, &["a", "c"], &["b"]), node(2, &["b"], &["c"])]);
        assert_eq!(problems, ["105 cycle: #1 -> #2 -> #1"]);
        let (_, problems) = sorted(vec![node(0, &["a"], &["a"])]);
        assert_eq!(problems, ["105 cycle: #0 -> #0"]);
    }
}
