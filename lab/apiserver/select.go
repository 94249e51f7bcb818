package apiserver

import (
	"fmt"
	"iter"
	"maps"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
)

// selection is which objects of a resource a request is about.
type selection struct {
	namespace string // "" for all
	labels    labels.Selector
	fields    fields.Selector
}

// selectionOf reads labelSelector and fieldSelector.
func selectionOf(namespace string, query url.Values) (selection, error) {
	s := selection{namespace: namespace}
	var err error
	if s.labels, err = labels.Parse(query.Get("labelSelector")); err != nil {
		return selection{}, fmt.Errorf("labelSelector: %w", err)
	}
	if s.fields, err = fields.ParseSelector(query.Get("fieldSelector")); err != nil {
		return selection{}, fmt.Errorf("fieldSelector: %w", err)
	}
	for _, r := range s.fields.Requirements() {
		switch r.Field {
		case "metadata.name", "metadata.namespace", "spec.clusterIP", "spec.type":
		default:
			return selection{}, fmt.Errorf("fieldSelector: field label not supported: %q", r.Field)
		}
	}
	return s, nil
}

// has reports whether an object is selected; nil never is.
func (s selection) has(o object) bool {
	if o == nil || s.namespace != "" && o.GetNamespace() != s.namespace {
		return false
	}
	set := fields.Set{"metadata.name": o.GetName(), "metadata.namespace": o.GetNamespace()}
	if svc, ok := o.(*corev1.Service); ok {
		set["spec.clusterIP"], set["spec.type"] = svc.Spec.ClusterIP, string(svc.Spec.Type)
	}
	return s.labels.Matches(labels.Set(o.GetLabels())) && s.fields.Matches(set)
}

// watched is a change as the selection sees it: an object that comes to be selected is added, one that no longer is is deleted.
func (s selection) watched(c change) (watched, bool) {
	before, after := s.has(c.was), s.has(c.now)
	switch {
	case before && after:
		return watched{watch.Modified, c.now}, true
	case after:
		return watched{watch.Added, c.now}, true
	case before && c.now == nil:
		return watched{watch.Deleted, c.was}, true
	case before:
		gone, _ := c.was.DeepCopyObject().(object) // every copy of an object is one
		gone.SetResourceVersion(c.now.GetResourceVersion())
		return watched{watch.Deleted, gone}, true
	}
	return watched{}, false
}

func keysOf[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }
