package runc

import "testing"

func TestAPodThatHasAnAnnotationNamedBundleDoesNotNameItsBundle(t *testing.T) {
	var state State
	state.Config.Labels = []string{"bundle=/another/tenants", "a=b=c", "no value", "bundle=/its/own"}
	if got := state.Bundle(); got != "/its/own" {
		t.Error(got)
	}
	if got := state.Annotations()["a"]; got != "b=c" {
		t.Error(got)
	}
}
