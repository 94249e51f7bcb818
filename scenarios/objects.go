package scenarios

import (
	"bytes"
	"errors"
	"fmt"
	"maps"

	"sigs.k8s.io/yaml"

	"natlab/topology"
)

// objects are a cluster's documents, in order, so that a script can change some and keep the others.
type objects []map[string]any

// parseObjects reads the documents of a YAML file.
func parseObjects(text []byte) (objects, error) {
	var all objects
	for i, doc := range bytes.Split(text, []byte("\n---")) {
		var o map[string]any
		if err := yaml.Unmarshal(doc, &o); err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		if o != nil {
			all = append(all, o)
		}
	}
	return all, nil
}

// key tells objects apart: kind, namespace and name. There is one Lab and one configuration, whatever their names.
func (o objects) key(i int) string {
	meta, _ := o[i]["metadata"].(map[string]any)
	kind := fmt.Sprint(o[i]["kind"])
	if kind == "Lab" || kind == "KubeProxyConfiguration" {
		return kind
	}
	namespace := meta["namespace"]
	if namespace == nil && kind != "Node" {
		namespace = "default"
	}
	return fmt.Sprint(kind, " ", namespace, "/", meta["name"])
}

// merge applies a patch's documents: one of an object that is there changes it as a JSON merge patch does (RFC 7386),
// another is added, and one with "$delete: true" takes its object away.
func (o objects) merge(patch objects) (objects, error) {
	out := append(objects(nil), o...)
	for i := range patch {
		at := -1
		for j := range out {
			if out.key(j) == patch.key(i) {
				at = j
			}
		}
		remove := patch[i]["$delete"] == true
		switch {
		case remove && at < 0:
			return nil, fmt.Errorf("%s is not there to be deleted", patch.key(i))
		case remove:
			out = append(append(objects(nil), out[:at]...), out[at+1:]...)
		case at < 0:
			out = append(out, patch[i])
		default:
			merged, ok := mergePatch(out[at], patch[i]).(map[string]any)
			if !ok {
				return nil, errors.New("a document has to be an object")
			}
			out[at] = merged
		}
	}
	return out, nil
}

// mergePatch is RFC 7386, section 2.
func mergePatch(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out := map[string]any{}
	if t, ok := target.(map[string]any); ok {
		maps.Copy(out, t)
	}
	for k, v := range p {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = mergePatch(out[k], v)
	}
	return out
}

// cluster loads the documents.
func (o objects) cluster(file string) (topology.Cluster, error) {
	var text bytes.Buffer
	for _, doc := range o {
		b, err := yaml.Marshal(doc)
		if err != nil {
			return topology.Cluster{}, err
		}
		text.WriteString("---\n")
		text.Write(b)
	}
	c, _, err := topology.Load(topology.Source{Name: file, Reader: &text})
	return c, err
}

// inNFTables are the objects with kube-proxy's nftables mode for its iptables mode, of the newest release where theirs had none yet.
func (o objects) inNFTables() (objects, error) {
	patch := objects{{"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": topology.ModeNFTables}}
	for i := range o {
		spec, _ := o[i]["spec"].(map[string]any)
		proxy, _ := spec["kubeProxy"].(map[string]any)
		release, _ := proxy["release"].(string)
		if o.key(i) == "Lab" && !(topology.KubeProxy{Release: release}).SinceRelease(firstNFTables) {
			patch = append(patch, map[string]any{"apiVersion": o[i]["apiVersion"], "kind": "Lab", "spec": map[string]any{"kubeProxy": map[string]any{"release": nil}}})
		}
	}
	return o.merge(patch)
}

// firstNFTables is the minor release with which kube-proxy's nftables mode is like that of later ones (beta, 1.31).
const firstNFTables = 31
