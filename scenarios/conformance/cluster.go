package conformance

import (
	"bytes"
	_ "embed" // for the cluster

	"natlab/topology"
)

// clusterYAML is the lab that the tests have where they are given none.
//
//go:embed cluster.yaml
var clusterYAML []byte

// Cluster is a cluster on which every test has all whom it needs: three nodes in two zones, both families, IPv4 first.
func Cluster() (topology.Cluster, error) {
	c, _, err := topology.Load(topology.Source{Name: "conformance", Reader: bytes.NewReader(clusterYAML)})
	return c, err
}
