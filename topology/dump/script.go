package dump

import _ "embed" // the scripts

// Script is a POSIX shell script that prints a node's bundle. It needs nothing of natlab on the node, changes nothing, and notes what it could
// not do.
//
//go:embed collect.sh
var Script string

// ClusterScript is a POSIX shell script that prints a cluster's objects by kubectl(1), as topology.Load reads them.
//
//go:embed kubectl.sh
var ClusterScript string
