# Check a dataset, all of it, and write its index. Other rules that make something once a dataset take the rest from this one.


rule index:
    input:
        unpack(stage.waits),
    output:
        f"{BASE}/{{folder,index}}/manifest.json",
    log:
        "logs/{dataset}/{folder}.log",
    benchmark:
        "logs/{dataset}/{folder}.tsv"
    conda:
        "../../envs/environment.yml"
    threads: stage.threads
    resources:
        gpu=stage.gpus,
        gpu_model=stage.gpu_model,
        gres=stage.gres,
        mem_mb=stage.memory,
        runtime=stage.minutes,
    params:
        command=stage.command,
        title=stage.title,
    message:
        "{params.title}"
    shell:
        COMMAND
