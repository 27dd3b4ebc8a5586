{{/* The name that all objects of the release begin with. */}}
{{- define "millrace.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "millrace.operator" -}}
{{ include "millrace.fullname" . }}-operator
{{- end -}}

{{/* What the operator's pods are found by; it never changes. */}}
{{- define "millrace.selector" -}}
app.kubernetes.io/name: millrace
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "millrace.labels" -}}
{{ include "millrace.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The reference of an image; takes (list $ image). */}}
{{- define "millrace.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.image -}}
{{- $image.image -}}
{{- else -}}
{{- $root.Values.images.registry | trimSuffix "/" }}/{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Seconds of a duration such as 90s, 15m, 1h or 2d. */}}
{{- define "millrace.seconds" -}}
{{- $units := dict "s" 1 "m" 60 "h" 3600 "d" 86400 -}}
{{- mul (regexFind "^[0-9]+" . | int) (get $units (regexFind "[smhd]$" .)) -}}
{{- end -}}

{{/* Whether something cluster-wide is made: as the value says, else where no namespaces are named. Takes (list $ value). */}}
{{- define "millrace.clusterWide" -}}
{{- $root := index . 0 -}}
{{- $value := index . 1 -}}
{{- if kindIs "bool" $value | ternary $value (empty $root.Values.namespaces) -}}true{{- end -}}
{{- end -}}
