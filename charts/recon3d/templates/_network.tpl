{{- define "recon3d.egressDns" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end -}}

{{/* The API server has no Pod to select: its ports, wherever it is. S3 and OpenID providers are behind 443 too. */}}
{{- define "recon3d.egressApiServer" -}}
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - port: {{ int . }}
    {{- end }}
{{- end -}}
