# From tags to class activation maps.


rule classifier:
    input:
        unpack(plan.inputs("classifier")),
    output:
        f"{RUN}/classifiers/{{name}}/manifest.json",
        f"{RUN}/classifiers/{{name}}/model.safetensors",
        f"{RUN}/classifiers/{{name}}/metrics.jsonl",
        f"{RUN}/classifiers/{{name}}/predictions.csv",
    log:
        "logs/{dataset}/s{seed}/classifiers/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/classifiers/{name}.tsv"
    wildcard_constraints:
        name=plan.pattern(plan.kind("classifier")),
    conda:
        "../../envs/environment.yml"
    threads: GPU_CORES
    resources:
        gpu=1,
        mem_mb=plan.memory(16000),
        runtime=720,
    params:
        settings=plan.settings("classifier"),
        code=plan.code("classifier"),
        weights=plan.weights_content("classifier"),
        run=plan.program("classifier"),
        inputs=plan.flags("classifier"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Training classifier {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


rule cams:
    input:
        unpack(plan.inputs("cams")),
    output:
        f"{RUN}/cams/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/cams/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/cams/{name}.tsv"
    wildcard_constraints:
        name=plan.pattern(plan.kind("cams")),
    conda:
        "../../envs/environment.yml"
    threads: GPU_CORES
    resources:
        gpu=1,
        mem_mb=plan.memory(16000),
        runtime=480,
    params:
        settings=plan.settings("cams"),
        code=plan.code("cams"),
        run=plan.program("cams"),
        inputs=plan.flags("cams"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Class activation maps {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"
